# syntax=docker/dockerfile:1
# The image has a static binary, certificates and time zones, but no shell. It runs as an unprivileged user.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base cmake perl linux-headers
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin overlayd

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/target/release/overlayd /usr/local/bin/overlayd
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/overlayd"]
CMD ["run"]

//! Random bytes of the operating system.

/// Fills a buffer with random bytes.
pub(crate) fn fill(bytes: &mut [u8]) {
    let source = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    source
        .fill(bytes)
        .expect("the system's random source works");
}

/// A random number from 0 to 1.
pub(crate) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

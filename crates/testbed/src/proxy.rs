//! A proxy that connects to any host (HTTP's CONNECT), for tests of the clients that can use a proxy.
//!
//! The number of connections tells whether a client went through it or around it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A running proxy. It ends with the process.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy that asks for a user name and password.
    pub fn start(username: &str, password: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, login) = (
            connections.clone(),
            STANDARD.encode(format!("{username}:{password}")),
        );
        std::thread::Builder::new()
            .name("testbed-proxy".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (count, login) = (count.clone(), login.clone());
                    // Who breaks a connection off is no concern of the proxy.
                    std::thread::spawn(move || drop(serve(stream, &login, &count)));
                }
            })?;
        Ok(Self {
            address,
            connections,
        })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections it has made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(mut from: TcpStream, login: &str, count: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        from.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let target = lines
        .next()
        .and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next());
    let Some(target) = target else {
        return from.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n");
    };
    let is_allowed = lines.any(|line| {
        let header = line.split_once(": ");
        header.is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value == format!("Basic {login}")
        })
    });
    if !is_allowed {
        return from.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    let mut to = TcpStream::connect(target)?;
    count.fetch_add(1, Ordering::Relaxed);
    from.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut back_from, mut back_to) = (to.try_clone()?, from.try_clone()?);
    let back = std::thread::spawn(move || {
        let copied = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
        copied
    });
    std::io::copy(&mut from, &mut to)?;
    let _ = to.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

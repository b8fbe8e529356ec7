//! Whether an OSC address can be reached from this machine alone or from a network.
//!
//! OSC has no passwords: everyone who can send a datagram can play. So `up` and the log warn when the
//! address is open to a network.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

/// Parses and resolves an address: `ADDR:PORT`, `[ADDR]:PORT` or `NAME:PORT`. A name with several addresses
/// stands for its first IPv4 address, as in most OSC programs.
///
/// # Errors
/// When the text names no address; the error says what is expected.
pub fn resolve(text: &str) -> io::Result<SocketAddr> {
    let no = |why: &str| {
        io::Error::other(format!(
            "\"{text}\" {why} (expected ADDR:PORT, such as 127.0.0.1:5005, [::1]:5005 or localhost:5005)"
        ))
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    match text.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !name.contains(':') => {
            port.parse::<u16>()
                .map_err(|_| no(&format!("has no valid port: \"{port}\" is not 0 to 65535")))?;
        }
        Some((name, _)) if name.contains(':') => return Err(no("is not an address")),
        _ => return Err(no("has no host and port")),
    }
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|why| no(&format!("cannot be resolved: {why}")))?
        .collect();
    let first = found.iter().find(|at| at.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| no("has no address"))
}

/// The warning for an instance that listens at `osc`; `None` if only this machine can reach the address.
#[must_use]
pub fn warning(osc: &SocketAddr) -> Option<String> {
    let ip = osc.ip().to_canonical();
    if ip.is_loopback() {
        return None;
    }
    let which = match ip.is_unspecified() {
        true => "every network that this machine is in",
        false => "its network",
    };
    Some(format!(
        "--osc {osc} is not a loopback address: everybody on {which} can play this instance and \
         load patches; use 127.0.0.1, or a firewall"
    ))
}

/// A socket for sending to an instance that listens at `osc`, and the address to send to. If the instance
/// listens on all interfaces, that is the loopback address.
///
/// # Errors
/// When the operating system gives no socket.
pub fn sender(osc: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let mut to = osc;
    let (any, here): (SocketAddr, _) = match osc {
        SocketAddr::V4(_) => (
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            Ipv4Addr::LOCALHOST.into(),
        ),
        SocketAddr::V6(_) => (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            Ipv6Addr::LOCALHOST.into(),
        ),
    };
    if to.ip().is_unspecified() {
        to.set_ip(here);
    }
    Ok((UdpSocket::bind(any)?, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_both_families_are_understood() {
        for (text, means) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:5005", "[::1]:5005"),
            ("localhost:5005", "127.0.0.1:5005"),
        ] {
            assert_eq!(resolve(text).unwrap().to_string(), means);
        }
        for bad in [
            "",
            "localhost",
            ":5005",
            "127.0.0.1",
            "::1",
            "::1:5005",
            "[::1]",
            "localhost:70000",
            "localhost:-1",
            "localhost:",
            "no.such.name.invalid:1",
            "two words:1",
        ] {
            let text = resolve(bad).unwrap_err().to_string();
            assert!(text.contains("expected ADDR:PORT"), "{bad}: {text}");
        }
    }

    #[test]
    fn only_loopback_addresses_need_no_warning() {
        for quiet in [
            "127.0.0.1:5005",
            "127.9.9.9:1",
            "[::1]:5005",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(warning(&quiet.parse().unwrap()), None, "{quiet}");
        }
        for loud in [
            "0.0.0.0:5005",
            "[::]:5005",
            "192.168.1.5:5005",
            "[fe80::1]:1",
        ] {
            let text = warning(&loud.parse().unwrap()).unwrap();
            assert!(
                text.contains("everybody on") && text.contains("can play"),
                "{text}"
            );
        }
    }
}

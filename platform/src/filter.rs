//! A kernel filter in front of a socket's queue: datagrams from listed senders are refused there.
//!
//! A refused datagram takes no room in the queue. If its sender is on this machine, refusing it costs the
//! sender's processor time, not the gateway's. One datagram in [`PASSED`] passes all the same, which shows
//! which senders still flood and which have stopped. The filter stays on the socket when the process that
//! set it dies. It is a classic BPF program, so setting it needs no privilege.
//!
//! # Source
//! Linux, `Documentation/networking/filter.rst`; S. McCanne, V. Jacobson, "The BSD Packet Filter", 1993.

use std::{
    io,
    mem::size_of,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MEM,
    BPF_MISC, BPF_RET, BPF_ST, BPF_TAX, BPF_TXA, BPF_W, SKF_AD_OFF, SKF_AD_RANDOM, SKF_NET_OFF,
    sock_filter,
};

/// One in `PASSED` datagrams of a listed sender passes. A power of two.
pub const PASSED: u32 = 64;
const _: () = assert!(PASSED.is_power_of_two());

/// The program's return value for "pass the whole datagram".
const KEEP: u32 = u32::MAX;

/// Sets the filter for exactly these senders; removes the filter if `senders` is empty.
///
/// # Errors
/// When the kernel has no room for the filter.
pub fn set(socket: impl AsFd, senders: &[SocketAddr]) -> io::Result<()> {
    let mut program = program(senders);
    let about = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let option = match senders {
        [] => libc::SO_DETACH_FILTER,
        _ => libc::SO_ATTACH_FILTER,
    };
    // SAFETY: a plain system call. `about` is alive and has the length that is given. The kernel copies the
    // program that `about` points to, whose length stands beside the pointer.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const about).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match (done, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        // There was no filter to remove.
        (_, why) if senders.is_empty() && why.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        (_, why) => Err(why),
    }
}

/// The filter program. It loads the datagram's source port into X and its source address into the program's
/// memory, and compares both with every listed sender of the same IP version.
fn program(senders: &[SocketAddr]) -> Vec<sock_filter> {
    let ip_at = |offset: i32| (SKF_NET_OFF + offset) as u32;
    let mut v4 = vec![plain(BPF_LD | BPF_W | BPF_ABS, ip_at(12)), plain(BPF_ST, 0)];
    let mut v6 = Vec::new();
    for word in 0..4 {
        v6.push(plain(BPF_LD | BPF_W | BPF_ABS, ip_at(8 + 4 * word)));
        v6.push(plain(BPF_ST, word as u32));
    }
    // A match ends in a jump with an open distance, which is filled in once the program's length is known.
    for sender in senders {
        let (list, words) = match sender.ip().to_canonical() {
            IpAddr::V4(ip) => (&mut v4, vec![ip.to_bits()]),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                let word = |n: u32| (bits >> (96 - 32 * n)) as u32;
                (&mut v6, (0..4).map(word).collect())
            }
        };
        // Distance to the next sender: over the remaining comparisons, the two instructions for the port,
        // and the jump.
        let mut left = 2 * words.len() as u8 + 2;
        for (at, word) in words.into_iter().enumerate() {
            left -= 2;
            list.push(plain(BPF_LD | BPF_MEM, at as u32));
            list.push(equal(word, 0, left + 1));
        }
        list.push(plain(BPF_MISC | BPF_TXA, 0));
        list.push(equal(sender.port().into(), 0, 1));
        list.push(plain(BPF_JMP | BPF_JA, 0));
    }
    let mut all = vec![
        plain(BPF_LD | BPF_H | BPF_ABS, 0),
        plain(BPF_MISC | BPF_TAX, 0),
        plain(BPF_LD | BPF_B | BPF_ABS, ip_at(0)),
        plain(BPF_ALU | BPF_AND | BPF_K, 0xf0),
        equal(0x60, 0, 1),
        // Over the IPv4 list and its return.
        plain(BPF_JMP | BPF_JA, v4.len() as u32 + 1),
    ];
    for list in [v4, v6] {
        all.extend(list);
        all.push(plain(BPF_RET | BPF_K, KEEP));
    }
    let listed = all.len();
    for (at, step) in all.iter_mut().enumerate().skip(6) {
        if u32::from(step.code) == BPF_JMP | BPF_JA {
            step.k = (listed - at - 1) as u32;
        }
    }
    all.extend([
        plain(
            BPF_LD | BPF_W | BPF_ABS,
            (SKF_AD_OFF + SKF_AD_RANDOM) as u32,
        ),
        plain(BPF_ALU | BPF_AND | BPF_K, PASSED - 1),
        equal(0, 1, 0),
        plain(BPF_RET | BPF_K, 0),
        plain(BPF_RET | BPF_K, KEEP),
    ]);
    all
}

const fn plain(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Skips `if_so` instructions if register A equals `value`, else `if_not`.
const fn equal(value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt: if_so,
        jf: if_not,
        k: value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::inbox::FILTERED_MAX;
    use std::net::UdpSocket;

    /// Sends `sent` datagrams from each client; returns how many of each arrive.
    fn passed(socket: &UdpSocket, clients: &[UdpSocket], sent: usize) -> Vec<usize> {
        let mut counts = vec![0; clients.len()];
        let mut buffer = [0; 64];
        let mut to = socket.local_addr().unwrap();
        if to.ip().is_unspecified() {
            to.set_ip("::1".parse().unwrap());
        }
        for _ in 0..sent {
            for client in clients {
                let to = match client.local_addr().unwrap() {
                    SocketAddr::V4(_) => ([127, 0, 0, 1], to.port()).into(),
                    SocketAddr::V6(_) => to,
                };
                client.send_to(b"/a\0\0", to).unwrap();
            }
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let port = from.port();
                let who = clients
                    .iter()
                    .position(|c| c.local_addr().unwrap().port() == port);
                counts[who.unwrap()] += 1;
            }
        }
        counts
    }

    #[test]
    fn listed_senders_are_refused_and_others_of_the_same_address_are_not() {
        for (listens, speak) in [
            ("127.0.0.1:0", ["127.0.0.1:0"; 4]),
            ("[::1]:0", ["[::1]:0"; 4]),
            (
                "[::]:0",
                ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0", "[::1]:0"],
            ),
        ] {
            let socket = UdpSocket::bind(listens).unwrap();
            socket.set_nonblocking(true).unwrap();
            let clients = speak.map(|at| UdpSocket::bind(at).unwrap());
            let at = |n: usize| clients[n].local_addr().unwrap();
            assert_eq!(passed(&socket, &clients, 10), [10; 4]);
            // As many senders as the filter can list; the two real ones come last.
            let mut senders: Vec<SocketAddr> = (1..)
                .map(|port| SocketAddr::new(at(port as usize % 2).ip(), port))
                .filter(|who| clients.iter().all(|c| c.local_addr().unwrap() != *who))
                .take(FILTERED_MAX - 2)
                .collect();
            senders.extend([at(0), at(1)]);
            set(&socket, &senders).unwrap();
            let counts = passed(&socket, &clients, 6_400);
            // Expected: 100, with a standard deviation of 10.
            assert!((50..150).contains(&counts[0]), "{listens}: {counts:?}");
            assert!((50..150).contains(&counts[1]), "{listens}: {counts:?}");
            assert_eq!(counts[2..], [6_400; 2]);
            set(&socket, &[]).unwrap();
            set(&socket, &[]).unwrap();
            assert_eq!(passed(&socket, &clients, 10), [10; 4]);
        }
    }
}

//! Receives datagrams from the OSC socket straight into shared memory: `recvmmsg` with its headers in the
//! inbox.
//!
//! When the call returns, the datagrams that have left the socket's queue are in the inbox's staging. The
//! same holds if the process is killed before the call returns: the kernel does not stop in the middle of
//! a datagram.

use std::{
    fs, io,
    mem::{offset_of, size_of},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use common::{
    inbox::{DATA, HEAD_WORDS, Inbox, NAME, NAME_WORDS, Name, SENDER_WORDS, STAGED, VECTOR, empty},
    limits::DATAGRAM_BYTES_MAX,
    sync::{AtomicU64, Ordering},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

// The words that `common::inbox` reads are fields of the kernel's structures.
const _: () = assert!(size_of::<libc::mmsghdr>() == HEAD_WORDS * 8);
const _: () = assert!(offset_of!(libc::mmsghdr, msg_len) == 7 * 8);
const _: () = assert!(offset_of!(libc::msghdr, msg_namelen) == 8);
const _: () = assert!(offset_of!(libc::msghdr, msg_controllen) == 5 * 8);
const _: () = assert!(offset_of!(libc::msghdr, msg_flags) == 6 * 8);
const _: () = assert!(size_of::<libc::sockaddr_in6>() <= NAME_WORDS * 8);

/// Maps every page of the inbox for writing and locks the pages where that is allowed. If the kernel had
/// to bring in a page while it delivers a datagram, and the process were killed at that moment, the
/// datagram could be lost.
pub fn hold(inbox: &Inbox<'_>) {
    const PAGE_WORDS: usize = 4096 / 8;
    for word in inbox.all_words().iter().step_by(PAGE_WORDS) {
        word.fetch_or(0, Ordering::Relaxed);
    }
    let _ = crate::shm::lock(inbox.all_words());
}

/// The state of a socket's queue in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Queue {
    /// How full the queue is, 0 to 1.
    pub fullness: f32,
    /// Datagrams dropped since the socket was created, for lack of room or by a filter. The count may
    /// wrap.
    pub dropped: u32,
}

/// Reads the state of the socket's queue in the kernel; zeros if the kernel does not report it.
#[must_use]
pub fn queue(socket: impl AsFd) -> Queue {
    // `SO_MEMINFO`: bytes that wait, bytes that may wait, six other values, and datagrams dropped
    // (`SK_MEMINFO_DROPS`).
    let mut memory = [0_u32; 9];
    let mut length = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: a plain system call with a live buffer of the length that is given; the kernel writes no
    // more than that.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            memory.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match (done, memory) {
        (0, [waits, may, .., dropped]) if may > 0 => Queue {
            fullness: waits as f32 / may as f32,
            dropped,
        },
        _ => Queue::default(),
    }
}

/// How many UDP datagrams all sockets of this machine together have dropped for lack of room; `None` where
/// the system does not report it. A socket's own count does not separate these from datagrams that a
/// filter refused.
#[must_use]
pub fn overflows() -> Option<u64> {
    let v4 = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut rows = v4.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (rows.next()?, rows.next()?);
    let at = names
        .split_whitespace()
        .position(|name| name == "RcvbufErrors")?;
    let of_v4: u64 = values.split_whitespace().nth(at)?.parse().ok()?;
    let v6 = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
    let of_v6 = v6
        .lines()
        .find_map(|line| line.strip_prefix("Udp6RcvbufErrors"))
        .and_then(|count| count.trim().parse::<u64>().ok());
    Some(of_v4 + of_v6.unwrap_or(0))
}

/// Waits until there is a datagram to receive, for at most `time`.
pub fn wait(socket: impl AsFd, time: Duration) {
    let fd = socket.as_fd();
    let timeout = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    // The next receive reports a failure.
    let _ = poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
        Some(&timeout),
    );
}

/// Moves the datagrams that wait into the inbox's staging, without blocking. Returns the serial number of
/// the first one, and their count.
///
/// # Errors
/// `WouldBlock` when no datagram waits; otherwise the socket's error.
pub fn receive(socket: impl AsFd, inbox: &Inbox<'_>) -> io::Result<(u64, u64)> {
    let first = inbox.next_serial();
    for serial in first..first + STAGED {
        prepare(serial, inbox.head_words(serial), inbox.slot_words(serial));
    }
    let heads = inbox.head_words(first).as_ptr();
    // SAFETY: `STAGED` headers lie there one after the other (`first` is a multiple of it). Each was just
    // filled with pointers to words of its own slot and their lengths. All of them are mapped, writable
    // and made of atomic words, which the kernel may change at any time.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            heads.cast_mut().cast::<libc::mmsghdr>(),
            STAGED as libc::c_uint,
            // Report a datagram's real length, even if it was longer than the room for it.
            (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as _,
            std::ptr::null_mut(),
        )
    };
    let received = u64::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((first, received))
}

/// Fills a `struct mmsghdr` and its I/O vector. The received length is half of a word and stays 0 until
/// the kernel writes it.
fn prepare(serial: u64, head: &[AtomicU64], slot: &[AtomicU64]) {
    let at = |word: usize| slot[word..].as_ptr().expose_provenance() as u64;
    let head_values = [
        at(NAME),
        NAME_WORDS as u64 * 8,
        at(VECTOR),
        1,
        0,
        0,
        0,
        empty(serial),
    ];
    for (word, value) in head.iter().zip(head_values) {
        word.store(value, Ordering::Relaxed);
    }
    slot[VECTOR].store(at(DATA), Ordering::Relaxed);
    slot[VECTOR + 1].store(DATAGRAM_BYTES_MAX as u64, Ordering::Relaxed);
}

/// The sender that a socket address names; `None` if the address is neither IPv4 nor IPv6.
#[must_use]
pub fn sender(name: &Name) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes([name[0], name[1]]));
    let port = u16::from_be_bytes([name[2], name[3]]);
    let ip: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(&name[4..8]).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(&name[8..24]).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// A sender as words of the inbox: the address in two words, an IPv4 one mapped into IPv6; then the port,
/// with a bit that marks IPv4 senders.
#[must_use]
pub fn to_words(sender: SocketAddr) -> [u64; SENDER_WORDS] {
    let ip = match sender.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let bits = ip.to_bits();
    let port = u64::from(sender.port()) | u64::from(sender.is_ipv4()) << 16;
    [(bits >> 64) as u64, bits as u64, port]
}

/// The sender that [`to_words`] encoded.
#[must_use]
pub fn from_words([high, low, port]: [u64; SENDER_WORDS]) -> SocketAddr {
    let ip = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    let ip = match (port >> 16 & 1, ip.to_ipv4_mapped()) {
        (1, Some(ip)) => ip.into(),
        _ => ip.into(),
    };
    SocketAddr::new(ip, port as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{inbox::INBOX_WORDS, sync::heap};
    use std::net::UdpSocket;

    #[test]
    fn datagrams_come_with_their_senders_in_order_and_drops_are_counted() {
        let words = heap(INBOX_WORDS);
        let inbox = Inbox::create(&words).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        let none = receive(&socket, &inbox).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        client.send(b"one").unwrap();
        client.send(&[7; DATAGRAM_BYTES_MAX + 1]).unwrap();
        wait(&socket, Duration::from_secs(9));
        let (first, count) = receive(&socket, &inbox).unwrap();
        assert_eq!(count, 2);
        assert_eq!(
            sender(&inbox.staged_name(first)),
            Some(client.local_addr().unwrap())
        );
        inbox.admit(first);
        inbox.admit(first + 1);
        assert_eq!(inbox.datagram(1).bytes, b"one");
        assert_eq!(
            sender(&inbox.name_of(1)),
            Some(client.local_addr().unwrap())
        );
        assert_eq!(inbox.datagram(2).length, DATAGRAM_BYTES_MAX + 1);
        inbox.free_below(3);
        assert_eq!(queue(&socket), Queue::default());
        // More than any queue holds.
        let before = overflows();
        (0..20_000).for_each(|_| drop(client.send(&[1; 1_000])));
        let full = queue(&socket);
        assert!(full.fullness > 0.9 && full.dropped > 0);
        let more = overflows().unwrap() - before.unwrap();
        assert!(more >= u64::from(full.dropped), "{more} {full:?}");
    }

    #[test]
    fn senders_come_back_from_words() {
        for text in ["127.0.0.1:5005", "[::1]:1", "[::ffff:10.0.0.1]:65535"] {
            let sender: SocketAddr = text.parse().unwrap();
            assert_eq!(from_words(to_words(sender)), sender);
        }
    }
}

//! Receiving datagrams straight into shared memory: `recvmmsg`, headers and all.
//!
//! What has left the socket's queue is in the inbox when the call returns, and also when the
//! process is killed before it returns: the kernel does not stop half-way through a datagram.

use std::{
    io,
    mem::{offset_of, size_of},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

use common::{
    inbox::{CONTROL, CONTROL_WORDS, DATA, Datagram, HEAD_WORDS, Inbox, NAME, NAME_WORDS, VECTOR},
    limits::DATAGRAM_BYTES_MAX,
    sync::{AtomicU64, Ordering},
};

// The words that `common::inbox` reads are the kernel's fields.
const _: () = assert!(size_of::<libc::mmsghdr>() == HEAD_WORDS * 8);
const _: () = assert!(offset_of!(libc::mmsghdr, msg_len) == 7 * 8);
const _: () = assert!(offset_of!(libc::msghdr, msg_namelen) == 8);
const _: () = assert!(offset_of!(libc::msghdr, msg_controllen) == 5 * 8);
const _: () = assert!(offset_of!(libc::msghdr, msg_flags) == 6 * 8);
const _: () = assert!(size_of::<libc::sockaddr_in6>() <= NAME_WORDS * 8);

/// Datagrams in a call, at the most.
const TURN: u64 = 64;

/// Asks the kernel to say with each datagram how many it had to drop.
///
/// # Errors
/// When it is no socket.
pub fn count_drops(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: a plain system call with a live value of the length that is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Maps every page of the inbox for writing, and keeps it there where that is allowed: a page that
/// the kernel had to bring in while it hands over a datagram could, if the process is killed just
/// then, lose it.
pub fn hold(inbox: &Inbox<'_>) {
    const PAGE_WORDS: usize = 4096 / 8;
    for word in inbox.all_words().iter().step_by(PAGE_WORDS) {
        word.fetch_or(0, Ordering::Relaxed);
    }
    let _ = crate::shm::lock(inbox.all_words());
}

/// How full the kernel's queue of the socket is, from 0 to 1; 0 where the kernel does not say.
#[must_use]
pub fn fullness(socket: impl AsFd) -> f32 {
    // In units of bytes: what waits, and how much may.
    let mut memory = [0_u32; 2];
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
        (0, [waits, may]) if may > 0 => waits as f32 / may as f32,
        _ => 0.0,
    }
}

/// Takes datagrams that are there into the inbox, without waiting; returns how many.
///
/// # Errors
/// `WouldBlock` when there is none; otherwise what the socket says.
pub fn receive(socket: impl AsFd, inbox: &Inbox<'_>) -> io::Result<u64> {
    let count = inbox.room().min(TURN);
    if count == 0 {
        return Ok(0);
    }
    let first = inbox.tail();
    for ticket in first..first + count {
        prepare(ticket, inbox.head_words(ticket), inbox.slot_words(ticket));
    }
    let heads = inbox.head_words(first).as_ptr();
    // SAFETY: `count` headers lie there one after the other (`room` sees to it), each just filled
    // with pointers to words of its own slot and their lengths; all are mapped, writable and made of
    // atomic words, which the kernel may change at any time.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            heads.cast_mut().cast::<libc::mmsghdr>(),
            count as libc::c_uint,
            // With the length that it had, not the one that there was room for.
            (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as _,
            std::ptr::null_mut(),
        )
    };
    let received = u64::try_from(received).map_err(|_| io::Error::last_os_error())?;
    inbox.received(received);
    Ok(received)
}

/// Fills a `struct mmsghdr` and its vector; the length stays 0 until the kernel sets its half of the
/// word.
fn prepare(ticket: u64, head: &[AtomicU64], slot: &[AtomicU64]) {
    let at = |word: usize| slot[word..].as_ptr().expose_provenance() as u64;
    let head_values = [
        at(NAME),
        NAME_WORDS as u64 * 8,
        at(VECTOR),
        1,
        at(CONTROL),
        CONTROL_WORDS as u64 * 8,
        0,
        common::inbox::empty(ticket),
    ];
    for (word, value) in head.iter().zip(head_values) {
        word.store(value, Ordering::Relaxed);
    }
    slot[VECTOR].store(at(DATA), Ordering::Relaxed);
    slot[VECTOR + 1].store(DATAGRAM_BYTES_MAX as u64, Ordering::Relaxed);
}

/// Who sent it; `None` where the address is of a family that is not the internet's.
#[must_use]
pub fn sender(datagram: &Datagram) -> Option<SocketAddr> {
    let name = &datagram.name;
    let family = i32::from(u16::from_ne_bytes([name[0], name[1]]));
    let port = u16::from_be_bytes([name[2], name[3]]);
    let ip: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(&name[4..8]).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(&name[8..24]).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// How many datagrams the kernel has dropped, in all, as it said with this one.
#[must_use]
pub fn dropped(datagram: &Datagram) -> Option<u32> {
    // One `struct cmsghdr`: length, level, type, then the count.
    let number = |at: usize| {
        let four = datagram.control.get(at..at + 4)?;
        Some(u32::from_ne_bytes(four.try_into().ok()?))
    };
    let is_count = number(8)? == libc::SOL_SOCKET as u32 && number(12)? == libc::SO_RXQ_OVFL as u32;
    is_count.then(|| number(16)).flatten()
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
        count_drops(&socket).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        let none = receive(&socket, &inbox).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        client.send(b"one").unwrap();
        client.send(&[7; DATAGRAM_BYTES_MAX + 1]).unwrap();
        assert_eq!(receive(&socket, &inbox).unwrap(), 2);
        let first = inbox.datagram(1);
        assert_eq!(first.bytes, b"one");
        assert_eq!(sender(&first), Some(client.local_addr().unwrap()));
        assert_eq!(inbox.datagram(2).length, DATAGRAM_BYTES_MAX + 1);
        inbox.free_below(3);
        assert_eq!(fullness(&socket), 0.0);
        // More than any queue holds.
        (0..20_000).for_each(|_| drop(client.send(&[1; 1_000])));
        assert!(fullness(&socket) > 0.9);
        let mut drops = 0;
        let mut tell = || {
            while let Ok(count) = receive(&socket, &inbox) {
                let last = inbox.datagram(inbox.tail() - 1);
                drops = drops.max(dropped(&last).unwrap_or(0));
                inbox.free_below(inbox.tail());
                if count == 0 {
                    break;
                }
            }
        };
        tell();
        // The count comes with the next datagram.
        client.send(b"after").unwrap();
        tell();
        assert!(drops > 0);
    }
}

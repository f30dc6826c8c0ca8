//! How the kernel notices that a server is not there any more.

use std::{fs, os::fd::BorrowedFd};

use nix::sys::socket::{SockaddrIn, getpeername, getsockopt, sockopt};

use super::{Scene, pace};

#[tokio::test]
async fn a_peer_that_acknowledges_nothing_is_noticed_within_half_a_minute() {
    let mut scene = Scene::start(pace()).await;
    let question = scene.server.next_list().await;
    let mut seen = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let number = entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        #[expect(
            unsafe_code,
            reason = "a socket of the client under test has no other handle"
        )]
        // SAFETY: It is asked for options only; a descriptor that was closed meanwhile says so.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let peer = getpeername::<SockaddrIn>(number);
        if !peer.is_ok_and(|peer| peer.port() == scene.server.port()) {
            continue;
        }
        seen += 1;
        // Bytes that are not acknowledged, milliseconds.
        let unheard = getsockopt(&fd, sockopt::TcpUserTimeout).unwrap();
        assert!((1..=30_000).contains(&unheard), "{unheard}");
        // A connection on which nothing is sent, seconds.
        assert!(getsockopt(&fd, sockopt::KeepAlive).unwrap());
        let idle = getsockopt(&fd, sockopt::TcpKeepIdle).unwrap();
        let again = getsockopt(&fd, sockopt::TcpKeepInterval).unwrap();
        let tries = getsockopt(&fd, sockopt::TcpKeepCount).unwrap();
        assert!(idle + again * tries <= 30, "{idle} + {again} * {tries}");
    }
    assert!(seen > 0);
    drop(question);
}

//! Follows the host's network and tells what changes.
//!
//! Three sockets listen: one to the host's own namespace, one to its routes, one to addresses of all
//! others. A pod that changes its addresses without end overruns the last only, a routing daemon the
//! second, and both are read at a bounded rate.

use std::{io, path::PathBuf, time::Duration};

use tokio::{
    io::unix::AsyncFd,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    NodeError,
    event::NodeEvent,
    link,
    message::{Message, u32_at},
    namespace,
    routes::is_local,
    socket::{Monitor, Reading},
    view::{Stale, View},
};

/// FOU ports are not announced by netlink, nor routes that go with their interface.
const UNANNOUNCED_INTERVAL: Duration = Duration::from_secs(30);

/// The least time between two readings of what other namespaces changed.
const INSIDE_PAUSE: Duration = Duration::from_millis(20);

/// The least time between two readings of routes.
const ROUTES_PAUSE: Duration = Duration::from_millis(200);

/// The same after an overrun, when all of them are read.
const OVERRUN_PAUSE: Duration = Duration::from_millis(500);

/// How often a reading of everything is tried while links change under it, and the time between.
const RESYNC_ATTEMPTS: usize = 20;
const RESYNC_PAUSE: Duration = Duration::from_millis(100);

/// Settings of a [`Watcher`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where network namespaces have names.
    pub netns_directory: PathBuf,
    /// Bytes of each listening socket's buffer; `None` leaves the system's default.
    pub receive_buffer: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            netns_directory: "/run/netns".into(),
            receive_buffer: None,
        }
    }
}

/// Follows the network namespace of the thread that opened it.
pub struct Watcher {
    host: Monitor,
    routes: Monitor,
    others: Monitor,
    view: View,
}

impl Watcher {
    /// Opens the sockets and subscribes, in this thread's network namespace.
    ///
    /// # Errors
    /// A socket that cannot be made; `CAP_NET_BROADCAST` is needed.
    pub fn open(options: &Options) -> Result<Self, NodeError> {
        let addresses = [libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        let mut inside = addresses.to_vec();
        inside.push(libc::RTNLGRP_LINK);
        let mut all = addresses.to_vec();
        all.extend([libc::RTNLGRP_LINK, libc::RTNLGRP_TC, libc::RTNLGRP_NSID]);
        Ok(Self {
            host: Monitor::open(&all, false, options.receive_buffer)?,
            routes: Monitor::open(
                &[libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE],
                false,
                options.receive_buffer,
            )?,
            others: Monitor::open(&inside, true, options.receive_buffer)?,
            view: View::open(options.netns_directory.clone())?,
        })
    }

    /// Sends all there is, then what changes, until the receiver is dropped.
    ///
    /// The first events are [`NodeEvent::Interfaces`], [`NodeEvent::Children`], [`NodeEvent::HostAddresses`],
    /// [`NodeEvent::LocalRoutes`] and [`NodeEvent::TunnelPorts`]. A full channel holds the watcher up; what it misses meanwhile
    /// it reads afterwards.
    ///
    /// # Errors
    /// What the kernel refused. The watcher is of no use afterwards.
    pub async fn run(self, events: mpsc::Sender<NodeEvent>) -> Result<(), NodeError> {
        let Self {
            host,
            routes,
            others,
            mut view,
        } = self;
        let host = register(host)?;
        let routes = register(routes)?;
        let others = register(others)?;
        let mut buffer = Monitor::buffer();
        let mut stale = Stale::default();
        let mut quiet_until = Instant::now();
        let mut routes_until = Instant::now();
        let mut unannounced = interval(UNANNOUNCED_INTERVAL);
        unannounced.set_missed_tick_behavior(MissedTickBehavior::Delay);
        unannounced.reset();
        let mut news = read_all(&mut view).await?;
        loop {
            for event in news.drain(..) {
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            let mut overrun = false;
            tokio::select! {
                () = events.closed() => return Ok(()),
                ready = host.readable() => {
                    let mut ready = ready.map_err(NodeError::Receive)?;
                    let reading = ready.get_inner().read(&mut buffer, |_, message| {
                        note(&mut view, &mut stale, message);
                    });
                    match reading.map_err(NodeError::Receive)? {
                        Reading::Drained => ready.clear_ready(),
                        Reading::More => {}
                        Reading::Overrun => overrun = true,
                    }
                }
                ready = readable_after(&others, quiet_until) => {
                    let mut ready = ready.map_err(NodeError::Receive)?;
                    let reading = ready.get_inner().read(&mut buffer, |from, message| {
                        if let (Some(from), Some(ifindex)) = (from, link::address_interface(message)) {
                            stale.inside.insert((from, ifindex));
                            // The host's end of a pair hears nothing of where the other end goes.
                            if link::is_move(message) {
                                stale.links.extend(view.leading_to(from, ifindex));
                            }
                            if view.is_child(from, ifindex) || link::leads_out(message) {
                                stale.children.insert((from, ifindex));
                            }
                        }
                    });
                    let mut pause = INSIDE_PAUSE;
                    match reading.map_err(NodeError::Receive)? {
                        Reading::Drained => ready.clear_ready(),
                        Reading::More => {}
                        Reading::Overrun => {
                            stale.all_inside = true;
                            pause = OVERRUN_PAUSE;
                        }
                    }
                    quiet_until = Instant::now() + pause;
                }
                ready = readable_after(&routes, routes_until) => {
                    let mut ready = ready.map_err(NodeError::Receive)?;
                    let mut pause = ROUTES_PAUSE;
                    let reading = ready.get_inner().read(&mut buffer, |_, message| {
                        stale.routes |= is_local(message);
                    });
                    match reading.map_err(NodeError::Receive)? {
                        Reading::Drained => ready.clear_ready(),
                        Reading::More => pause = Duration::ZERO,
                        Reading::Overrun => stale.routes = true,
                    }
                    routes_until = Instant::now() + pause;
                }
                _ = unannounced.tick() => (stale.tunnels, stale.routes) = (true, true),
            }
            if overrun {
                stale = Stale::default();
                news = read_all(&mut view).await?;
                news.push(NodeEvent::Resynced);
                continue;
            }
            news = match view.refresh(&mut stale) {
                Ok(news) => news,
                Err(error) if is_interrupted(&error) => {
                    let mut news = read_all(&mut view).await?;
                    news.push(NodeEvent::Resynced);
                    news
                }
                Err(error) => return Err(error),
            };
        }
    }
}

#[expect(
    unsafe_code,
    reason = "a promise about the descriptor, not about memory"
)]
fn register(monitor: Monitor) -> Result<AsyncFd<Monitor>, NodeError> {
    // SAFETY: a monitor keeps one descriptor open from its making to its drop, and lends that one.
    let registered = unsafe { AsyncFd::register(monitor) };
    registered.map_err(|error| NodeError::Receive(io::Error::other(error)))
}

/// Reads everything, again while it changes faster than it can be read.
async fn read_all(view: &mut View) -> Result<Vec<NodeEvent>, NodeError> {
    let mut attempts = RESYNC_ATTEMPTS;
    loop {
        attempts -= 1;
        match view.read_all() {
            Err(error) if is_interrupted(&error) && attempts > 0 => {
                sleep_until(Instant::now() + RESYNC_PAUSE).await;
            }
            result => return result,
        }
    }
}

fn is_interrupted(error: &NodeError) -> bool {
    matches!(error, NodeError::Request { source, .. } if source.kind() == io::ErrorKind::Interrupted)
}

async fn readable_after(
    monitor: &AsyncFd<Monitor>,
    time: Instant,
) -> io::Result<tokio::io::unix::AsyncFdReadyGuard<'_, Monitor>> {
    sleep_until(time).await;
    monitor.readable().await
}

/// Notes what a message of the host's namespace makes stale.
fn note(view: &mut View, stale: &mut Stale, message: &Message<'_>) {
    let family = message.payload.first().copied().map(i32::from);
    let ifindex = u32_at(message.payload, 4);
    match (message.kind, ifindex) {
        (libc::RTM_DELLINK, Some(ifindex)) if family == Some(libc::AF_UNSPEC) => {
            stale.deleted.insert(ifindex);
            if link::is_move(message) {
                stale.moved.insert(ifindex);
            }
        }
        (libc::RTM_NEWLINK | libc::RTM_DELLINK, Some(ifindex)) => {
            stale.links.insert(ifindex);
        }
        (libc::RTM_NEWADDR | libc::RTM_DELADDR, Some(ifindex)) => {
            stale.addresses.insert(ifindex);
        }
        (
            libc::RTM_NEWQDISC | libc::RTM_DELQDISC | libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER,
            Some(ifindex),
        ) => {
            stale.tc.insert(ifindex);
        }
        (libc::RTM_DELNSID, _) => {
            if let Some(number) = namespace::decode_number(message) {
                view.namespace_ended(number, stale);
            }
        }
        _ => {}
    }
}

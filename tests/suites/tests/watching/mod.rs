//! A watcher under test: it runs inside a namespace that plays the host.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::Result;
use policy_agent::node::{Interface, NodeError, NodeEvent, Options, Watcher};
use policy_harness::Netns;
use tokio::{sync::mpsc, time::timeout};

const DEADLINE: Duration = Duration::from_secs(10);

/// A watcher that runs inside a namespace, and the runtime in which its events are awaited.
pub(crate) struct Watching {
    events: mpsc::Receiver<NodeEvent>,
    runtime: tokio::runtime::Runtime,
    thread: Option<thread::JoinHandle<Result<Result<(), NodeError>>>>,
}

impl Watching {
    pub(crate) fn start(host: &Netns, options: Options, capacity: usize) -> Self {
        let (sender, events) = mpsc::channel(capacity);
        let thread = host.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let watcher = Watcher::open(&options)?;
                tokio::spawn(watcher.run(sender)).await.unwrap()
            })
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            events,
            runtime: runtime.unwrap(),
            thread: Some(thread.unwrap()),
        }
    }

    /// The first event for which `wanted` gives something.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&NodeEvent) -> Option<T>,
    ) -> T {
        let mut seen = Vec::new();
        let events = &mut self.events;
        let found = self.runtime.block_on(async {
            timeout(DEADLINE, async {
                while let Some(event) = events.recv().await {
                    if let Some(found) = wanted(&event) {
                        return Some(found);
                    }
                    seen.push(event);
                }
                None
            })
            .await
        });
        match found {
            Ok(Some(found)) => found,
            _ => panic!("{what} was not announced, but {seen:#?}"),
        }
    }

    pub(crate) fn interface(
        &mut self,
        what: &str,
        wanted: impl Fn(&Interface) -> bool,
    ) -> Interface {
        self.until(what, |event| match event {
            NodeEvent::Interface(interface) if wanted(interface) => Some(interface.clone()),
            NodeEvent::Interfaces(all) => all.iter().find(|interface| wanted(interface)).cloned(),
            _ => None,
        })
    }

    pub(crate) fn stop(mut self) {
        drop(self.events);
        let ended = self.thread.take().unwrap().join().unwrap().unwrap();
        assert!(ended.is_ok(), "{ended:?}");
    }
}

pub(crate) fn addresses(interface: &Interface) -> &[IpAddr] {
    interface
        .sandbox
        .as_ref()
        .map_or(&[], |sandbox| &sandbox.addresses)
}

pub(crate) fn pair(host: &Netns, pod: &Netns, name: &str) {
    let add = format!(
        "link add {name} type veth peer name eth0 netns {}",
        pod.name()
    );
    host.ip(&[add, format!("link set {name} up")]).unwrap();
}

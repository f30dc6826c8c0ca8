//! One line per dropped packet.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use policy_common::{Direction, Reason};
use policy_core::model::ObjectName;

/// The other side of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The pod that has the address.
    pub pod: Option<ObjectName>,
    /// The address is this host's.
    pub is_host: bool,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pod, self.is_host) {
            (Some(pod), _) => write!(formatter, "{pod} ({})", self.address),
            (None, true) => write!(formatter, "host ({})", self.address),
            (None, false) => write!(formatter, "{}", self.address),
        }
    }
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropLine {
    /// From the pod's side.
    pub direction: Direction,
    /// Name of the pod's interface on the host.
    pub interface: String,
    /// The pod; `None` while it is not known.
    pub pod: Option<ObjectName>,
    /// The other side; `None` when the packet is not IP.
    pub peer: Option<Peer>,
    /// IANA number.
    pub protocol: u8,
    /// 4, 6, or 0 when the packet is not IP.
    pub family: u8,
    /// The link header's type, for packets that are not IP.
    pub ethertype: u16,
    /// When the packet was judged: later than now by what it takes to read and write.
    pub at: Timestamp,
    /// Who the packet says sent it; `None` when it is not IP.
    pub source: Option<IpAddr>,
    /// The source port, 0 where the protocol has none.
    pub source_port: u16,
    /// The destination port, 0 where the protocol has none.
    pub port: u16,
    /// ICMP type and code.
    pub icmp: (u8, u8),
    /// Why.
    pub reason: Reason,
    /// The policies that isolated the pod in the direction when the packet was judged.
    pub policies: Arc<[ObjectName]>,
    /// How many more were dropped since the line before, without a line of their own.
    pub suppressed: u32,
}

impl DropLine {
    /// Writes the line.
    pub fn log(&self) {
        let policies: Vec<_> = self.policies.iter().map(ToString::to_string).collect();
        tracing::info!(
            at = %self.at,
            direction = self.direction.name(),
            pod = self.pod.as_ref().map(tracing::field::display),
            interface = self.interface,
            peer = self.peer.as_ref().map(tracing::field::display),
            protocol = %self.protocol_name(),
            source = self.forged_source().map(tracing::field::display),
            source_port = (self.source_port != 0).then_some(self.source_port),
            port = (self.port != 0).then_some(self.port),
            reason = self.reason.name(),
            policies = (!policies.is_empty()).then(|| policies.join(",")),
            suppressed = (self.suppressed != 0).then_some(self.suppressed),
            "dropped"
        );
    }

    /// The source, where the line's reason is that it is not the pod's: elsewhere it is the pod or
    /// its peer.
    pub(super) fn forged_source(&self) -> Option<IpAddr> {
        self.source.filter(|_| {
            matches!(
                self.reason,
                Reason::SourceAddress | Reason::NeighbourSender | Reason::ForgedError
            )
        })
    }

    pub(super) fn protocol_name(&self) -> Cow<'static, str> {
        let (icmp_type, code) = self.icmp;
        match (self.family, self.protocol) {
            (0, _) if self.ethertype == 0x0806 => "arp".into(),
            (0, _) => format!("ethertype 0x{:04x}", self.ethertype).into(),
            (_, 1) => format!("icmp type {icmp_type} code {code}").into(),
            (_, 58) => format!("icmpv6 type {icmp_type} code {code}").into(),
            (_, 6) => "tcp".into(),
            (_, 17) => "udp".into(),
            (_, 132) => "sctp".into(),
            (_, other) => format!("protocol {other}").into(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Mutex, PoisonError},
    };

    use tracing_subscriber::{Layer, layer::SubscriberExt as _};

    use super::*;

    /// Remembers the names of the fields of what is logged.
    struct Fields(Arc<Mutex<BTreeSet<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Fields {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            let names = event.metadata().fields().iter();
            let names = names.map(|field| field.name().to_owned());
            let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(names.filter(|name| name != "message"));
        }
    }

    /// A buffer that a subscriber writes into.
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What the log has of something, as text and as JSON.
    pub(crate) fn written(log: impl Fn()) -> [String; 2] {
        let of = |make: fn(Buffer) -> Box<dyn tracing::Subscriber + Send + Sync>| {
            let buffer = Buffer::default();
            let subscriber = make(buffer.clone());
            tracing::subscriber::with_default(subscriber, &log);
            let bytes = buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        [
            of(|buffer| {
                let layer = tracing_subscriber::fmt::layer().with_writer(move || buffer.clone());
                Box::new(tracing_subscriber::registry().with(layer.with_ansi(false)))
            }),
            of(|buffer| {
                let layer = tracing_subscriber::fmt::layer().with_writer(move || buffer.clone());
                Box::new(tracing_subscriber::registry().with(layer.json().flatten_event(true)))
            }),
        ]
    }

    /// The fields that a line can have.
    pub(crate) fn fields() -> BTreeSet<String> {
        let found = Arc::new(Mutex::default());
        let subscriber = tracing_subscriber::registry().with(Fields(Arc::clone(&found)));
        tracing::subscriber::with_default(subscriber, || drop().log());
        let found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    fn drop() -> DropLine {
        DropLine {
            direction: Direction::Ingress,
            interface: "veth0".into(),
            pod: None,
            peer: None,
            protocol: 6,
            family: 4,
            ethertype: 0x0800,
            at: Timestamp::UNIX_EPOCH,
            source: Some("10.0.0.66".parse().unwrap()),
            source_port: 4000,
            port: 80,
            icmp: (0, 0),
            reason: Reason::Policy,
            policies: [].into(),
            suppressed: 0,
        }
    }

    #[test]
    fn protocols_have_names_that_people_know() {
        let name = |change: fn(&mut DropLine)| {
            let mut drop = drop();
            change(&mut drop);
            drop.protocol_name().into_owned()
        };
        assert_eq!(name(|_| {}), "tcp");
        assert_eq!(name(|drop| drop.protocol = 47), "protocol 47");
        assert_eq!(
            name(|drop| (drop.protocol, drop.icmp) = (1, (8, 0))),
            "icmp type 8 code 0"
        );
        assert_eq!(
            name(|drop| (drop.family, drop.ethertype) = (0, 0x0806)),
            "arp"
        );
        assert_eq!(
            name(|drop| (drop.family, drop.ethertype) = (0, 0x88cc)),
            "ethertype 0x88cc"
        );
    }

    #[test]
    fn only_a_forged_source_is_shown_beside_pod_and_peer() {
        let mut drop = drop();
        assert_eq!(drop.forged_source(), None);
        drop.reason = Reason::SourceAddress;
        assert_eq!(drop.forged_source(), Some("10.0.0.66".parse().unwrap()));
    }

    #[test]
    fn a_peer_is_named_by_pod_then_host_then_address() {
        let peer = Peer {
            address: "10.0.0.1".parse().unwrap(),
            pod: Some(ObjectName::new("shop", "web")),
            is_host: false,
        };
        assert_eq!(peer.to_string(), "shop/web (10.0.0.1)");
        let host = Peer {
            pod: None,
            is_host: true,
            ..peer
        };
        assert_eq!(host.to_string(), "host (10.0.0.1)");
    }
}

//! Packets with more headers than most: fragments, IPv6 extension headers, ICMP errors.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};
use policy_common::{Config, Direction, Reason};

use super::{
    Bench, EXTENSIONS, FRAGMENT, ICMP_ERROR,
    case::Case,
    frames::{self, Ends, Family},
    hot::{Flows, parameters},
    scene::{Cluster, OPEN, Scene, Subject},
};
use policy_harness::wire::{
    Ipv4, Ipv6, Tcp, icmp,
    ip::{self, Extension},
    transport::{TCP, UDP, flag, udp},
};

const PEERS: u32 = 10;
/// Bytes of each fragment.
const PIECE: u16 = 64;
const DIRECTION: Direction = Direction::Ingress;

/// A fragment with the transport header, and one without, of a datagram of a known flow.
pub(super) fn fragment(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(FRAGMENT) {
        return Ok(());
    }
    let mut scene = Scene::new(Cluster::of_peers(PEERS), Config::DEFAULT)?;
    for family in Family::ALL {
        let ends = Subject::Isolated.called(family, OPEN);
        // The peer's first datagram opens the flow.
        let whole = frames::udp(ends, DIRECTION);
        hot(whole, Reason::Allowed).send(&mut scene, 1)?;
        let pieces = fragments(ends)?;
        for (part, piece) in ["first", "later"].iter().zip(pieces) {
            let mut parameters = parameters(family, DIRECTION);
            parameters.push("part", part);
            let case = hot(frames::frame(&piece), Reason::Flow);
            // Later fragments follow what the first one said.
            bench.measure(FRAGMENT, &parameters, &case, &mut scene, None)?;
        }
        scene.forget_flows()?;
    }
    Ok(())
}

/// A segment of a known flow behind extension headers.
pub(super) fn extensions(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(EXTENSIONS) {
        return Ok(());
    }
    let mut scene = Scene::new(Cluster::of_peers(PEERS), Config::DEFAULT)?;
    let _flow = Flows::establish(&mut scene, Family::V6, 0)?;
    let ends = Subject::Isolated.called(Family::V6, OPEN);
    for headers in [1, 2, 4] {
        let packet = extended(ends, headers)?;
        let mut parameters = parameters(Family::V6, DIRECTION);
        parameters.push("headers", headers);
        let case = hot(frames::frame(&packet), Reason::Flow);
        bench.measure(EXTENSIONS, &parameters, &case, &mut scene, None)?;
    }
    Ok(())
}

/// A router on the way to the peer complains about a segment of the pod.
pub(super) fn icmp_error(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(ICMP_ERROR) {
        return Ok(());
    }
    let mut scene = Scene::new(Cluster::of_peers(PEERS), Config::DEFAULT)?;
    for family in Family::ALL {
        let _flow = Flows::establish(&mut scene, family, 0)?;
        let ends = Subject::Isolated.called(family, OPEN);
        let (source, destination) = ends.of(Direction::Egress);
        let quoted = Tcp::new(flag::ACK).packet(source, destination);
        let (router, pod) = (router(family), ends.pod.ip());
        let message = icmp::too_big(router, pod, 1_400, &quoted);
        let packet = ip::packet(router, pod, icmp::protocol(pod), &message);
        let case = hot(frames::frame(&packet), Reason::RelatedError);
        let parameters = parameters(family, DIRECTION);
        bench.measure(ICMP_ERROR, &parameters, &case, &mut scene, None)?;
        scene.forget_flows()?;
    }
    Ok(())
}

fn hot(frame: Vec<u8>, reason: Reason) -> Case {
    Case::hot(Subject::Isolated, DIRECTION, frame, reason)
}

/// The first two fragments of a datagram.
fn fragments(ends: Ends) -> Result<[Vec<u8>; 2]> {
    let (source, destination) = ends.of(DIRECTION);
    let datagram = udp(source, destination, &[0; 2 * PIECE as usize]);
    let pieces = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Ipv4::new(source, destination, UDP).fragments(&datagram, PIECE)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ipv6::new(source, destination, UDP).fragments(&datagram, PIECE, 7)
        }
        _ => Vec::new(),
    };
    let [first, later, ..] = pieces.as_slice() else {
        bail!("fewer than two fragments");
    };
    Ok([first.clone(), later.clone()])
}

/// A TCP segment behind so many extension headers: hop-by-hop options, then destination options.
fn extended(ends: Ends, headers: usize) -> Result<Vec<u8>> {
    let (source, destination) = ends.of(DIRECTION);
    let (SocketAddr::V6(from), SocketAddr::V6(to)) = (source, destination) else {
        bail!("extension headers are IPv6's");
    };
    let packet = (0..headers).fold(Ipv6::new(*from.ip(), *to.ip(), TCP), |packet, number| {
        let kind = if number == 0 { 0 } else { 60 };
        packet.with(Extension::Plain(kind, vec![1, 4, 0, 0, 0, 0]))
    });
    Ok(packet.packet(&Tcp::new(flag::ACK).segment(source, destination)))
}

/// Nobody that a policy knows.
fn router(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([192, 0, 2, 1]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
    }
}

//! The packet of the tests of two generations.

/// A UDP packet between the pod, port 4000, and a peer, port 53.
pub(crate) fn frame(leaves: bool, v6: bool) -> Vec<u8> {
    let (pod, peer, ports): (Vec<u8>, Vec<u8>, [u16; 2]) = {
        let address = |last: u8| {
            if v6 {
                let mut address = [0; 16];
                (address[0], address[15]) = (0xfd, last);
                address.to_vec()
            } else {
                vec![10, 0, 0, last]
            }
        };
        (address(9), address(1), [4000, 53])
    };
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    }
    let (ends, ports) = if leaves {
        ([pod, peer], ports)
    } else {
        ([peer, pod], [ports[1], ports[0]])
    };
    frame.extend(ends.concat());
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

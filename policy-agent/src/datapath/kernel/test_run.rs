//! Runs a program on one packet, without an interface (`BPF_PROG_TEST_RUN`).
//!
//! Owns the test seam's layout: the kernel lets a test run set `cb[]` but not where a packet came
//! from, so an object that was loaded with `Config::test_seam` reads that from `cb[]`.

use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};

/// Where the packet of a test run comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestOrigin {
    /// The interface on which the program runs.
    pub ifindex: u32,
    /// The interface by which the packet came to this host; 0 for the host's own.
    pub ingress_ifindex: u32,
    /// Whether the packet has a socket of this host.
    pub socket: bool,
    /// Whether it has a socket of another network namespace.
    pub foreign_socket: bool,
    /// `skb->tc_index`.
    pub stamp: u16,
}

/// What a test run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TestOutcome {
    /// Whether the packet passed: the program returned `TC_ACT_UNSPEC`.
    pub passed: bool,
    /// What the program returned.
    pub action: i32,
    /// `skb->tc_index` as the program left it.
    pub stamp: u16,
}

impl TestOrigin {
    /// The beginning of `struct __sk_buff` that tells it to a program.
    pub fn context(self) -> [u8; TestOrigin::CONTEXT_SIZE] {
        let words = [
            self.ifindex,
            self.ingress_ifindex,
            u32::from(self.socket) | u32::from(self.foreign_socket) << 1,
            u32::from(self.stamp),
        ];
        let mut context = [0; Self::CONTEXT_SIZE];
        for (slot, word) in context[CB_OFFSET..].chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_ne_bytes());
        }
        context
    }

    /// Everything of the structure up to the end of the seam; the kernel takes the rest as zero.
    pub const CONTEXT_SIZE: usize = CB_OFFSET + CB_WORDS * 4;
}

const TC_ACT_UNSPEC: i32 = -1;
/// Offset of `cb` in `struct __sk_buff` (include/uapi/linux/bpf.h).
const CB_OFFSET: usize = 48;
/// Words of `cb` that the seam uses: interface, ingress interface, bit 0 socket, bit 1 another's socket,
/// stamp.
const CB_WORDS: usize = 4;
/// The kernel gives all of the structure back, 192 bytes today.
const CONTEXT_ROOM: usize = 512;

/// Runs a program on a packet that begins with its Ethernet header.
pub(crate) fn run(
    program: &SchedClassifier,
    packet: &[u8],
    origin: TestOrigin,
) -> Result<TestOutcome, ProgramError> {
    let context_in = origin.context();
    let mut context_out = [0; CONTEXT_ROOM];
    let result = program.test_run(TestRunOptions {
        data_in: Some(packet),
        ctx_in: Some(&context_in),
        ctx_out: Some(&mut context_out),
        ..TestRunOptions::default()
    })?;
    let action = result.return_value.cast_signed();
    Ok(TestOutcome {
        passed: action == TC_ACT_UNSPEC,
        action,
        stamp: stamp(&context_out),
    })
}

fn stamp(context: &[u8; CONTEXT_ROOM]) -> u16 {
    let mut word = [0; 4];
    word.copy_from_slice(&context[TestOrigin::CONTEXT_SIZE - 4..TestOrigin::CONTEXT_SIZE]);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the stamp has the 16 bits of tc_index"
    )]
    let stamp = u32::from_ne_bytes(word) as u16;
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seam_stands_in_the_first_four_words_of_cb() {
        let context = TestOrigin {
            ifindex: 7,
            ingress_ifindex: 9,
            socket: true,
            foreign_socket: false,
            stamp: 0x8003,
        }
        .context();
        let word = |n: usize| u32::from_ne_bytes(context[48 + 4 * n..][..4].try_into().unwrap());
        assert_eq!([word(0), word(1), word(2), word(3)], [7, 9, 1, 0x8003]);
        let mut given_back = [0; CONTEXT_ROOM];
        given_back[..TestOrigin::CONTEXT_SIZE].copy_from_slice(&context);
        assert_eq!(stamp(&given_back), 0x8003);
        assert!(context[..48].iter().all(|byte| *byte == 0));
    }
}

//! Of blocks, their exceptions and what lies inside what.

use super::*;
use crate::resolve::compile::predicate::{Predicate, Predicates};

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn block(cidr: &str, except: &[&str]) -> IpBlock {
    IpBlock {
        cidr: net(cidr),
        except: except.iter().map(|text| net(text)).collect(),
    }
}

/// A tree of blocks, numbered by their place, brought up to date.
struct Tree {
    blocks: Blocks,
    ids: Vec<(PredicateId, IpBlock)>,
}

impl Tree {
    fn new(blocks: &[IpBlock]) -> Self {
        let mut predicates = Predicates::default();
        let id = |block: &IpBlock| predicates.intern(Predicate::Block(block.clone()));
        let ids: Vec<_> = blocks.iter().map(id).zip(blocks.iter().cloned()).collect();
        let mut tree = Self {
            blocks: Blocks::new(),
            ids,
        };
        for (id, block) in &tree.ids {
            tree.blocks.insert(*id, block);
        }
        tree.refresh();
        tree
    }

    fn remove(&mut self, place: usize) {
        let (id, block) = &self.ids[place];
        self.blocks.remove(*id, block);
        self.refresh();
    }

    /// As the passes do it; every prefix gets an identity of its own.
    fn refresh(&mut self) -> Vec<IpNet> {
        let (_, changed) = self.blocks.refresh();
        for (number, net) in (100..).zip(&changed) {
            match self.blocks.holds(net) {
                Some(_) => self.blocks.set_identity(net, IdentityId(number)),
                None => self.blocks.remove_prefix(net),
            };
        }
        self.blocks.index();
        changed
    }

    /// The places of the blocks that hold for an address.
    fn of(&self, address: &str) -> Vec<usize> {
        let holds = self.blocks.of(address.parse().expect("an address"));
        let ids = self.ids.iter().enumerate();
        let held = ids.filter(|(_, (id, _))| holds.contains(id));
        held.map(|(place, _)| place).collect()
    }
}

#[test]
fn inside_a_prefix_is_what_it_contains_and_nothing_around_it() {
    let nets = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.0.0.0/32",
        "10.64.0.0/10",
        "10.127.255.255/32",
        "10.128.0.0/9",
        "11.0.0.0/8",
        "::/0",
        "::/128",
        "::ffff:10.0.0.0/104",
    ];
    let tree = Tree::new(&nets.map(|cidr| block(cidr, &[])));
    for root in nets.map(net) {
        let inside: Vec<IpNet> = tree.blocks.inside(&root).collect();
        let mut contained: Vec<IpNet> = nets.map(net).to_vec();
        contained.retain(|other| root.contains(other));
        contained.sort_unstable();
        assert_eq!(inside, contained, "{root}");
    }
}

#[test]
fn an_exception_takes_away_from_its_own_block_only() {
    let tree = Tree::new(&[
        block("10.0.0.0/8", &["10.1.0.0/16"]),
        block("10.1.0.0/16", &["10.1.2.0/24"]),
        block("10.0.0.0/15", &[]),
    ]);
    assert_eq!(tree.of("10.0.0.1"), [0, 2]);
    assert_eq!(tree.of("10.1.0.1"), [1, 2]);
    assert_eq!(tree.of("10.1.2.255"), [2]);
    assert_eq!(tree.of("10.1.3.0"), [1, 2]);
    assert_eq!(tree.of("10.2.0.0"), [0]);
    assert_eq!(tree.of("11.0.0.0"), []);
}

#[test]
fn an_exception_around_its_block_leaves_nothing_and_one_outside_changes_nothing() {
    let tree = Tree::new(&[
        block("10.0.0.0/8", &["0.0.0.0/0"]),
        block("10.0.0.0/8", &["11.0.0.0/8"]),
        block("10.0.0.0/8", &["10.0.0.0/8"]),
    ]);
    assert_eq!(tree.of("10.0.0.0"), [1]);
}

#[test]
fn the_last_address_of_a_family_is_in_its_blocks_and_the_next_family_begins_anew() {
    let tree = Tree::new(&[
        block("255.255.255.255/32", &[]),
        block("::/0", &["::/128"]),
        block("ffff::/16", &[]),
    ]);
    assert_eq!(tree.of("255.255.255.255"), [0]);
    assert_eq!(tree.of("255.255.255.254"), []);
    assert_eq!(tree.of("::"), []);
    assert_eq!(tree.of("::1"), [1]);
    assert_eq!(tree.of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), [1, 2]);
}

#[test]
fn a_block_that_goes_leaves_the_tree_as_if_it_had_never_been() {
    let blocks = [
        block("10.0.0.0/8", &["10.1.0.0/16"]),
        block("10.1.0.0/16", &[]),
        block("10.0.0.0/7", &["10.1.0.0/16"]),
    ];
    let mut tree = Tree::new(&blocks);
    tree.remove(0);
    assert_eq!(tree.of("10.0.0.1"), [2]);
    assert_eq!(tree.of("10.1.0.1"), [1]);
    let prefixes: Vec<IpNet> = tree.blocks.all().map(|(net, _)| net).collect();
    assert_eq!(prefixes, [net("10.0.0.0/7"), net("10.1.0.0/16")]);
    tree.remove(1);
    tree.remove(2);
    assert_eq!(tree.blocks.all().count(), 0);
    assert_eq!(tree.of("10.0.0.1"), []);
}

#[test]
fn only_what_changed_is_said_to_have_changed() {
    let mut tree = Tree::new(&[block("10.0.0.0/8", &[]), block("11.0.0.0/8", &[])]);
    let id = tree.ids[0].0;
    tree.blocks.insert(id, &block("10.1.0.0/16", &[]));
    // The block holds there already.
    assert_eq!(tree.refresh(), [net("10.1.0.0/16")]);
    assert_eq!(tree.refresh(), []);
}

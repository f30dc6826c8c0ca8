//! How many packets of which cases went through the kernel: so that a change after which cases go on
//! alone is noticed.
//!
//! Must not know why a case goes on alone. The cases are run in a process of their own, since a test
//! cannot know when all others have ended.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    process::{self, Command},
    thread,
};

/// Where a process that is to tell appends a line for each node.
const FILE: &str = "POLICY_TWIN_TALLY";

/// Packets of each file of cases that go through the kernel, at least. The files that are missing have no
/// packets at a pod's interface.
const AT_LEAST: [(&str, u64); 20] = [
    ("addresses", 28),
    ("carrying", 7),
    ("closing", 296),
    ("errors", 14),
    ("flows", 38),
    ("fragments", 13),
    // Limits of their own, which the kernel has for all its endpoints.
    ("giving_way", 0),
    ("groups", 21),
    ("headers", 100),
    ("limits", 0),
    ("link", 17),
    ("neighbours", 21),
    ("origins", 28),
    ("owed", 75),
    ("phases", 288),
    ("reopening", 30),
    ("rules", 19),
    // Random ones: some 9,000.
    ("sequences", 3_000),
    ("services", 4),
    ("unpoliced", 274),
];

/// Packets of one node.
#[derive(Default)]
pub(super) struct Tally {
    asked: Cell<u64>,
    checked: Cell<u64>,
}

impl Tally {
    /// The core was asked.
    pub(super) fn asked(&self) {
        self.asked.set(self.asked.get() + 1);
    }

    /// The kernel was asked too, and said the same.
    pub(super) fn checked(&self) {
        self.checked.set(self.checked.get() + 1);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Some(file) = env::var_os(FILE).filter(|_| self.asked.get() > 0) else {
            return;
        };
        let thread = thread::current();
        let line = format!(
            "{} {} {}\n",
            thread.name().unwrap_or_default(),
            self.asked.get(),
            self.checked.get()
        );
        let file = fs::OpenOptions::new().create(true).append(true).open(file);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            eprintln!("the tally is not written: {error}");
        }
    }
}

/// Packets that the core and the kernel were asked, by the file of the case.
fn by_file(lines: &str) -> BTreeMap<String, (u64, u64)> {
    let mut all = BTreeMap::<String, (u64, u64)>::new();
    for line in lines.lines() {
        let mut words = line.split(' ');
        let test = words.next().expect("a test");
        let mut number = || words.next().expect("a number").parse::<u64>();
        let file = test.split("::").next().unwrap_or(test);
        let (asked, checked) = all.entry(file.to_owned()).or_default();
        *asked += number().expect("a number");
        *checked += number().expect("a number");
    }
    all
}

#[test]
fn as_many_packets_as_ever_go_through_the_kernel() {
    let file = env::temp_dir().join(format!("policy-twin-{}", process::id()));
    let ended = Command::new(env::current_exe().expect("this program"))
        .args(["--skip", "twin::"])
        .env(FILE, &file)
        .output()
        .expect("the cases run");
    let lines = fs::read_to_string(&file).expect("a tally");
    fs::remove_file(&file).expect("the tally is removed");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stdout)
    );

    let found = by_file(&lines);
    let expected = BTreeMap::from(AT_LEAST);
    for (file, (asked, checked)) in &found {
        let least = expected.get(file.as_str());
        assert!(
            least.is_some_and(|least| checked >= least),
            "{file}: {checked} of {asked} packets went through the kernel, {least:?} are expected"
        );
    }
    for file in expected.keys() {
        assert!(found.contains_key(*file), "{file} has no packets");
    }
}

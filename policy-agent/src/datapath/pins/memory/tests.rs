//! What is read of what was written, and of anything else.

use proptest::prelude::*;

use super::*;
use crate::datapath::PinDir;

fn memory() -> Memory {
    Memory {
        tag: 7,
        owner: 8,
        netns: 3,
        mark: Mark {
            cookie: 5,
            inode: 6,
            name: 9,
        },
        boot: 1 << 100 | 1,
        peer: 2,
        is_late: true,
        is_moved: false,
        is_unremembered: true,
        name: "veth0123456789a".into(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
    }
}

fn pins(name: &str) -> Pins {
    let id = std::process::id();
    PinDir::new(format!("/sys/fs/bpf/memory-{name}-{id}"))
        .lock()
        .unwrap()
}

#[test]
fn what_is_remembered_is_read_by_the_next_run() {
    let pins = pins("read");
    let (mut map, earlier) = MemoryMap::open(&pins).unwrap();
    assert_eq!(earlier, Ok(BTreeMap::new()));
    for about in [
        About::Interface(9),
        About::Pod(9),
        About::Pod(1),
        About::Node,
    ] {
        map.put(about, &memory()).unwrap();
    }
    let (_, unpublished) = MemoryMap::open(&pins).unwrap();
    assert_eq!(unpublished, Ok(BTreeMap::new()));
    map.publish().unwrap();
    map.remove(About::Pod(1)).unwrap();
    map.remove(About::Pod(1)).unwrap();
    let (_, later) = MemoryMap::open(&pins).unwrap();
    let expected = [About::Interface(9), About::Pod(9), About::Node].map(|about| (about, memory()));
    assert_eq!(later, Ok(expected.into()));
    pins.remove_all().unwrap();
}

#[test]
fn what_cannot_be_read_is_no_empty_memory_until_another_takes_its_name() {
    let pins = pins("damaged");
    let other: HashMap<MapData, u32, u32> = HashMap::create(1, 0).unwrap();
    other.pin(pins.path().join(names::SANDBOXES)).unwrap();
    for _ in 0..2 {
        let (_, read) = MemoryMap::open(&pins).unwrap();
        assert!(read.is_err());
    }
    let (mut map, _) = MemoryMap::open(&pins).unwrap();
    map.put(About::Interface(9), &memory()).unwrap();
    map.publish().unwrap();
    assert_eq!(MemoryMap::open(&pins).unwrap().1.unwrap().len(), 1);
    // One element that is damaged is enough.
    let key = Key::new(About::Interface(10));
    let mut damaged = elements(&mut map.map).unwrap();
    damaged.insert(Abi(key), Abi(Value::default()), 0).unwrap();
    assert!(MemoryMap::open(&pins).unwrap().1.is_err());
    pins.remove_all().unwrap();
}

proptest! {
    #[test]
    fn a_changed_byte_is_never_read(at in 0..size_of::<Value>(), byte in any::<u8>()) {
        let key = Key::new(About::Interface(4));
        let value = Value::new(&key, &memory());
        prop_assert_eq!(value.read(&key), Some((About::Interface(4), memory())));
        let mut bytes = bytemuck::bytes_of(&value).to_vec();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let changed: Value = bytemuck::pod_read_unaligned(&bytes);
        prop_assert_eq!(changed.read(&key), None);
        prop_assert_eq!(value.read(&Key::new(About::Interface(5))), None);
    }

    #[test]
    fn no_bytes_make_reading_panic(
        key in prop::array::uniform16(any::<u8>()),
        value in prop::collection::vec(any::<u8>(), size_of::<Value>()),
        is_sealed in any::<bool>(),
    ) {
        let key: Key = bytemuck::pod_read_unaligned(&key);
        let mut value: Value = bytemuck::pod_read_unaligned(&value);
        if is_sealed {
            value.check = value.sum(&key);
        }
        // What is read is what would be written.
        if let Some((about, memory)) = value.read(&key) {
            let again = Value::new(&Key::new(about), &memory);
            prop_assert_eq!(again.read(&key), Some((about, memory)));
        }
    }
}

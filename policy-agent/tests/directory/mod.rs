//! The pin directories of tests.

use policy_agent::datapath::{PinDir, Pins};

/// A pin directory that is gone when this is dropped.
pub(crate) struct Directory {
    path: PinDir,
    pins: Option<Pins>,
}

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("agent-test-{}-{name}", std::process::id());
        let path = PinDir::new(format!("/sys/fs/bpf/{name}"));
        let pins = Some(path.lock().unwrap());
        Self { path, pins }
    }

    pub(crate) fn pins(&self) -> &Pins {
        self.pins.as_ref().unwrap()
    }

    /// A run ends, and another one begins.
    pub(crate) fn restart(&mut self) {
        self.pins = None;
        self.pins = Some(self.path.lock().unwrap());
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.pins().remove_all().unwrap();
    }
}

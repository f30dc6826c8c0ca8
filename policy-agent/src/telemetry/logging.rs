//! Where log lines go and what they look like.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::writer::QueuedWriter;

/// What log lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Sends log lines to standard error, from a thread of its own: nobody who logs waits for a reader. `RUST_LOG` chooses what is logged; without it everything from
/// level info on, and the datapath's debug lines when they are switched on.
pub fn init(format: LogFormat, datapath_debug: bool) {
    let default = if datapath_debug {
        "info,aya_log=debug,policy_ebpf=debug"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(QueuedWriter::stderr());
    // The usual hook writes where nobody may read, and a thread that hangs in it never ends.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    match format {
        LogFormat::Text => registry
            .with(
                layer
                    .with_target(false)
                    .with_ansi(io::stderr().is_terminal()),
            )
            .init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
}

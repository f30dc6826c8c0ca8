//! Standard error, for a process that must not wait for whoever reads it.
//!
//! Owns a thread that writes and a queue of bounded length before it. Invariant: nobody who logs
//! ever waits; a line for which there is no room is lost, counted, and the loss is said once there
//! is room again.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const MOST_LINES: usize = 4_096;
/// How often the writer looks whether the loss of lines can be said, though no line comes: one was
/// lost while others waited, after which it looks anyway.
const LOOK: Duration = Duration::from_secs(10);

/// Bytes of the last lines that are remembered.
const TAIL_BYTES: usize = 256 << 10;

static TAIL: Mutex<Tail> = Mutex::new(Tail {
    lines: VecDeque::new(),
    bytes: 0,
});
static LOST: AtomicU64 = AtomicU64::new(0);
static WRITER: OnceLock<QueuedWriter> = OnceLock::new();

/// Log lines that were lost because nobody read them.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Waits until everything that was logged is written, but no longer than `patience`: whoever reads
/// it may have stopped. To be called before the process ends.
pub fn flush(patience: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.flush(patience);
    }
}

/// Writes one line to standard error for a process that is about to end, and gives up after
/// `patience`.
pub fn say(line: String, patience: Duration) {
    flush(patience);
    let (done, waiting) = sync_channel(1);
    let spawned = thread::Builder::new().spawn(move || {
        eprintln!("{line}");
        // Whoever waited may have given up.
        let _: Result<(), _> = done.send(());
    });
    if spawned.is_ok() {
        // Without an answer nobody reads.
        let _: Result<(), _> = waiting.recv_timeout(patience);
    }
}

/// Makes lines; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct QueuedWriter {
    lines: SyncSender<Vec<u8>>,
    queued: Arc<AtomicU64>,
}

impl QueuedWriter {
    /// The writer of standard error.
    pub(super) fn stderr() -> Self {
        WRITER.get_or_init(|| Self::start(io::stderr())).clone()
    }

    fn start(sink: impl Write + Send + 'static) -> Self {
        let (lines, queue) = sync_channel(MOST_LINES);
        let queued = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&queued);
        // Before the thread: what is lost until it runs is said too.
        let said = lost_lines();
        let started = thread::Builder::new()
            .name("log".into())
            .spawn(move || write(sink, &queue, &counter, said));
        if let Err(error) = started {
            eprintln!("no thread for the log: {error}");
        }
        Self { lines, queued }
    }

    fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.queued.load(Ordering::Acquire) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The last lines, the oldest first.
pub fn last_lines() -> Vec<String> {
    let tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
    tail.lines.iter().cloned().collect()
}

/// Lines that are remembered.
#[derive(Debug)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

fn remember(line: &[u8]) {
    let mut tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
    tail.bytes += line.len();
    tail.lines
        .push_back(String::from_utf8_lossy(line).into_owned());
    while tail.bytes > TAIL_BYTES
        && let Some(oldest) = tail.lines.pop_front()
    {
        tail.bytes = tail.bytes.saturating_sub(oldest.len());
    }
}

fn write(mut sink: impl Write, queue: &Receiver<Vec<u8>>, queued: &AtomicU64, mut said: u64) {
    loop {
        match queue.recv_timeout(LOOK) {
            // Nobody is there to whom it could be said that the sink fails.
            Ok(line) => {
                remember(&line);
                drop(sink.write_all(&line));
                queued.fetch_sub(1, Ordering::Release);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let lost = LOST.load(Ordering::Relaxed);
        if lost != said {
            let lines = lost - said;
            let line = format!("{lines} log lines were lost: nobody read them in time\n");
            drop(sink.write_all(line.as_bytes()));
            said = lost;
        }
    }
}

/// One line in the making.
#[derive(Debug)]
pub(super) struct Line<'a> {
    writer: &'a QueuedWriter,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.text.is_empty() {
            return;
        }
        self.writer.queued.fetch_add(1, Ordering::Acquire);
        if self
            .writer
            .lines
            .try_send(std::mem::take(&mut self.text))
            .is_err()
        {
            self.writer.queued.fetch_sub(1, Ordering::Release);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for QueuedWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            writer: self,
            text: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A sink whose reader takes one write at a time, when it likes.
    struct Stuck {
        written: Sender<Vec<u8>>,
        allowed: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            self.written
                .send(bytes.to_vec())
                .map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_the_loss_is_said() {
        let (written, lines) = channel();
        let (allow, allowed) = channel();
        let writer = QueuedWriter::start(Stuck { written, allowed });
        let before = lost_lines();
        let began = Instant::now();
        for n in 0..3 * MOST_LINES {
            drop(writeln!(writer.make_writer(), "line {n}"));
        }
        writer.flush(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(5));
        let lost = lost_lines() - before;
        assert!(lost >= u64::try_from(2 * MOST_LINES - 1).unwrap(), "{lost}");
        let mut last = Vec::new();
        for _ in 0..=MOST_LINES + 2 {
            allow.send(()).unwrap();
            last = lines.recv_timeout(Duration::from_secs(5)).unwrap();
            if last.ends_with(b"lost: nobody read them in time\n") {
                break;
            }
        }
        let last = String::from_utf8(last).unwrap();
        assert!(last.starts_with(&format!("{lost} log lines")), "{last}");
    }
}

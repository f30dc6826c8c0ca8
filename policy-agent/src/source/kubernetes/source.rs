//! An API server as others hold it.

use std::io;

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::{
    Access, Pace, Trouble, client::Connection, collect::Collector, follow::Follow, link::Link,
    report::Reporter, resource::ALL, survey::Named,
};
use crate::source::{Event, contact::Contact};

/// Events that may wait for the receiver before reading pauses.
const BACKLOG: usize = 64;

/// Why an API server cannot be followed.
#[derive(Debug, Error)]
pub enum KubernetesSourceError {
    /// Who and where it is cannot be told.
    #[error(
        "how to reach the API server is not known (in a pod: its service account; elsewhere: --kubeconfig)"
    )]
    Access(#[source] Trouble),
    /// No thread for it could be started.
    #[error("starting the thread that follows the API server")]
    Thread(#[source] io::Error),
    /// The thread that follows it ended.
    #[error("the thread that follows the API server ended")]
    Ended,
}

/// An API server, followed until this is dropped.
#[derive(Debug)]
pub struct KubernetesSource {
    server: String,
    events: mpsc::Receiver<Event>,
    contact: Contact,
    reload: watch::Sender<()>,
}

impl KubernetesSource {
    /// Begins to follow a server, which need not be there yet.
    ///
    /// # Errors
    ///
    /// When nothing says how to reach it.
    pub fn open(access: &Access, pace: Pace) -> Result<Self, KubernetesSourceError> {
        let (sender, events) = mpsc::channel(BACKLOG);
        let (begun, begin) = std::sync::mpsc::channel();
        let (reload, reloads) = watch::channel(());
        let contact = Contact::new(ALL.iter().map(|resource| resource.kind.name()));
        let thread = Thread {
            access: access.clone(),
            pace,
            contact: contact.clone(),
            reloads,
            sender,
        };
        // Lists are long and their decoding takes its time: on a thread of its own.
        std::thread::Builder::new()
            .name("api-server".to_owned())
            .spawn(move || thread.run(&begun))
            .map_err(KubernetesSourceError::Thread)?;
        let server = begin.recv().unwrap_or(Err(KubernetesSourceError::Ended))?;
        Ok(Self {
            server,
            events,
            contact,
            reload,
        })
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How the connections stand.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Lists everything again.
    pub fn reload(&self) {
        self.reload.send_replace(());
    }

    /// The next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the server is not followed any longer: nothing more will come.
    pub async fn next(&mut self) -> Result<Event, KubernetesSourceError> {
        self.events.recv().await.ok_or(KubernetesSourceError::Ended)
    }
}

/// What the thread begins with.
struct Thread {
    access: Access,
    pace: Pace,
    contact: Contact,
    reloads: watch::Receiver<()>,
    sender: mpsc::Sender<Event>,
}

impl Thread {
    /// Follows the server until nobody listens; says which one it is.
    fn run(self, begun: &std::sync::mpsc::Sender<Result<String, KubernetesSourceError>>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = begun.send(Err(KubernetesSourceError::Thread(error)));
                return;
            }
        };
        runtime.block_on(async {
            let connection = match Connection::open(&self.access).await {
                Ok(connection) => connection,
                Err(trouble) => {
                    let _ = begun.send(Err(KubernetesSourceError::Access(trouble)));
                    return;
                }
            };
            let _ = begun.send(Ok(connection.server().to_owned()));
            let link = Link::new(self.access, connection);
            let (news, heard) = mpsc::channel(BACKLOG);
            let (named, names) = Named::new();
            let mut names = Some(names);
            let follows = (0..ALL.len()).filter_map(|kind| {
                let follow = Follow::new(
                    kind,
                    link.clone(),
                    self.pace.clone(),
                    self.contact.kind(kind)?.clone(),
                    self.reloads.clone(),
                    news.clone(),
                );
                let surveyed = (!ALL[kind].watched).then(|| names.take()).flatten();
                Some(async move {
                    match surveyed {
                        Some(names) => follow.survey(names).await,
                        None => follow.run().await,
                    }
                })
            });
            let follows = futures_util::future::join_all(follows);
            let (reports, refused) = watch::channel(Vec::new());
            let reporter = Reporter::new(link, self.pace, refused);
            let collector = Collector::new(self.sender, named, reports);
            // They end when nobody hears them.
            tokio::join!(follows, collector.run(heard), reporter.run());
        });
    }
}

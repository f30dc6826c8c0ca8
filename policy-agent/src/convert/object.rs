//! Which kind an object is, and what it is called.

use std::{fmt, sync::Arc};

use policy_core::model::{NamespaceFact, NodeFact, ObjectName, PodFact, PolicyFact, ServiceFact};
use serde_json::Value;

use super::{
    field::{Context, Field},
    namespace::namespace,
    node::node,
    pod::{self, pod},
    policy::policy,
    problem::Problem,
    service::service,
};

/// A converted object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Namespace.
    Namespace(NamespaceFact),
    /// A Pod.
    Pod(PodFact),
    /// A NetworkPolicy.
    Policy(PolicyFact),
    /// A Node.
    Node(NodeFact),
    /// A Service.
    Service(ServiceFact),
    /// An object of a kind that no policy depends on.
    Ignored {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
}

/// Whether a kind of another group is a policy for networks too: one that has no effect here is
/// worth more than a word.
pub fn is_foreign_policy(kind: &str) -> bool {
    kind.contains("NetworkPolicy")
}

/// The kinds that have an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1 Namespace.
    Namespace,
    /// v1 Pod.
    Pod,
    /// v1 Node.
    Node,
    /// v1 Service.
    Service,
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Namespace,
        Self::Pod,
        Self::Node,
        Self::Service,
        Self::NetworkPolicy,
    ];

    /// The `kind` of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
        }
    }

    /// Whether somebody who says this means the kind: its name in any case, or its plural, which is
    /// what URLs and `kubectl get` have.
    fn is_called(self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let own = self.name().to_ascii_lowercase();
        let plural = match own.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{own}s"),
        };
        name == own || name == plural
    }

    /// The `apiVersion` that we read.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Pod | Self::Node | Self::Service => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
        }
    }
}

/// Which object something is about. The namespace is empty for a Namespace and a Node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: ObjectName,
}

impl ObjectRef {
    /// The Namespace of this name.
    pub fn namespace(name: &Arc<str>) -> Self {
        Self {
            kind: Kind::Namespace,
            name: ObjectName::new("", Arc::clone(name)),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectName { namespace, name } = &self.name;
        match &**namespace {
            "" => write!(formatter, "{} {name}", self.kind.name()),
            namespace => write!(formatter, "{} {namespace}/{name}", self.kind.name()),
        }
    }
}

/// Reads just enough of an object to say which one it is, however broken the rest may be. `None`
/// when it cannot be said, or when its kind has no effect.
pub fn identify(object: &Value) -> Option<ObjectRef> {
    let Found::Ours(kind) = find(object, &mut Context::lenient()) else {
        return None;
    };
    let meta = object.get("metadata")?;
    let name = meta.get("name")?.as_str().filter(|name| !name.is_empty())?;
    let namespace = match (kind, meta.get("namespace")) {
        (Kind::Namespace | Kind::Node, _) => "",
        (_, None | Some(Value::Null)) => "default",
        (_, Some(value)) => match value.as_str()? {
            "" => "default",
            namespace => namespace,
        },
    };
    Some(ObjectRef {
        kind,
        name: ObjectName::new(namespace, name),
    })
}

/// Converts an object of any kind; `None` when it is refused whole.
pub(super) fn convert(object: &Value, context: &mut Context) -> Option<Object> {
    match find(object, context) {
        Found::Ours(Kind::Namespace) => namespace(object, context).map(Object::Namespace),
        Found::Ours(Kind::Pod) => pod(object, context).map(Object::Pod),
        Found::Ours(Kind::Node) => node(object, context).map(Object::Node),
        Found::Ours(Kind::Service) => service(object, context).map(Object::Service),
        Found::Ours(Kind::NetworkPolicy) => policy(object, context).map(Object::Policy),
        Found::Other { api_version, kind } => Some(Object::Ignored { api_version, kind }),
        Found::Nothing => None,
    }
}

/// What is known of an object that is refused, when it is a pod.
pub(super) fn unreadable_pod(object: &Value) -> Option<PodFact> {
    match find(object, &mut Context::lenient()) {
        Found::Ours(Kind::Pod) => pod::unreadable(object),
        _ => None,
    }
}

/// What `apiVersion` and `kind` say.
enum Found {
    Ours(Kind),
    Other {
        api_version: String,
        kind: String,
    },
    /// What is wrong has been reported.
    Nothing,
}

fn find(object: &Value, context: &mut Context) -> Found {
    let root = Field::root();
    if !object.is_object() {
        context.error(&root, Problem::not_a(object, "an object"));
        return Found::Nothing;
    }
    let mut text = |name: &str| {
        let text = object.get(name).and_then(Value::as_str);
        let text = text.filter(|text| !text.is_empty());
        if text.is_none() {
            context.error(&root.child(name), Problem::Missing);
        }
        text
    };
    let (Some(api_version), Some(kind_name)) = (text("apiVersion"), text("kind")) else {
        return Found::Nothing;
    };
    let other = Found::Other {
        api_version: api_version.to_owned(),
        kind: kind_name.to_owned(),
    };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.is_called(kind_name)) else {
        return other;
    };
    if api_version == kind.api_version() && kind_name == kind.name() {
        return Found::Ours(kind);
    }
    // Core kinds' names are used by other groups too; a policy that is silently not enforced is
    // worse than an error.
    if kind != Kind::NetworkPolicy && api_version.contains('/') {
        return other;
    }
    if kind_name != kind.name() {
        let problem = Problem::Kind {
            found: kind_name.to_owned(),
            meant: kind.name(),
        };
        context.error(&root.child("kind"), problem);
    } else {
        let problem = Problem::Version {
            found: api_version.to_owned(),
            kind: kind.name(),
            known: kind.api_version(),
        };
        context.error(&root.child("apiVersion"), problem);
    }
    Found::Nothing
}

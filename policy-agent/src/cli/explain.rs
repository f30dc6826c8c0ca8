//! `policy-agent explain`: whether a connection is allowed, by which rules, and what is missing.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::{OutputFormat, place::Place};
use crate::{
    ask::{Answer, DropQuestion, Offline, Packet, PartyArgument, Verdict},
    control::{self, Explain, Request},
    text::{Printable, printable_json},
};

/// Says whether a connection is allowed, by which rules, and which rule almost allows it
///
/// Asks the running agent: three ways, from the objects that it knows, from the maps, and by the loaded
/// programs, which are run on the packet without making a flow or counting it. They are compared, for the ends
/// that are pods of this node. Without PORT/PROTO it says what passes at all, from the objects.
///
/// With --manifests it reads a directory instead, without root and without an agent: both ends are judged,
/// wherever they run. Pods that have no address yet are judged as if they had one that is in no ipBlock.
///
/// Exits with 0 when it is allowed, with 1 when it is denied (over one of the address families that both
/// ends have; without PORT/PROTO, when nothing passes), with 2 when that cannot be said, and with 3 when the
/// three ways disagree, which is an error of this program or of who writes into its tables.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// Who opens the connection: NAMESPACE/POD, POD of the namespace default, an IP address, or `host`
    /// for the other end's own node
    #[arg(value_name = "FROM", required_unless_present = "drop")]
    from: Option<PartyArgument>,
    /// Who is called, likewise
    #[arg(value_name = "TO", required_unless_present = "drop")]
    to: Option<PartyArgument>,
    /// The port that is called: 80, 53/UDP, 9/SCTP, or ICMP for an echo request
    #[arg(value_name = "PORT/PROTO")]
    packet: Option<Packet>,
    /// Instead of all these: a line of the agent's log about a dropped packet, or - for the first line of
    /// standard input
    #[arg(long, value_name = "LINE", conflicts_with_all = ["from", "to", "packet"])]
    drop: Option<String>,
    /// The packet belongs to the connection that comes from this port, instead of opening one
    #[arg(
        long,
        value_name = "PORT",
        requires = "packet",
        conflicts_with = "manifests"
    )]
    source_port: Option<u16>,
    /// Ask this directory of manifests instead of an agent
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: OutputFormat,
}

const DENIED: u8 = 1;

/// Exit code of ways that disagree.
const DISAGREE: u8 = 3;

/// Exit code of a question that has no answer, as of any other misuse.
const NO_ANSWER: u8 = 2;

pub(super) fn run(arguments: ExplainArgs) -> anyhow::Result<ExitCode> {
    report(arguments, &mut io::stdout().lock(), &mut io::stderr()).map(ExitCode::from)
}

pub(super) fn report(
    arguments: ExplainArgs,
    out: &mut impl io::Write,
    complaints: &mut impl io::Write,
) -> anyhow::Result<u8> {
    let ExplainArgs {
        from,
        to,
        packet,
        drop,
        source_port,
        manifests,
        place,
        output,
    } = arguments;
    let answer = || -> anyhow::Result<_> {
        let mut question = Explain {
            source_port,
            is_within: source_port.is_some(),
            ..Explain::default()
        };
        let (from, to, packet) = match (from, to, drop) {
            (Some(from), Some(to), None) => (from, to, packet),
            (_, _, line) => {
                let line = DropQuestion::read(&line_of(line)?)?;
                if manifests.is_some() {
                    line.is_about_rules()?;
                }
                question.source_port = line.source_port;
                question.is_within = line.is_within;
                question.source = line.source;
                (line.from, line.to, Some(line.packet))
            }
        };
        let Some(manifests) = manifests else {
            question.from = from.to_string();
            question.to = to.to_string();
            question.packet = packet.map(|packet| packet.to_string());
            return asked(&place, question);
        };
        let offline = Offline::read(&manifests).with_context(|| manifests.display().to_string())?;
        offline.complain(complaints)?;
        Ok(Answer::new(&offline.resolver, from, to, packet)?)
    };
    let answer = match answer() {
        Ok(answer) => answer,
        Err(error) => {
            let error = Printable(format!("{error:#}"));
            writeln!(complaints, "policy-agent explain: {error}")?;
            return Ok(NO_ANSWER);
        }
    };
    match output {
        OutputFormat::Text => write!(out, "{answer}")?,
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(&answer)?;
            writeln!(out, "{}", printable_json(&json))?;
        }
    }
    Ok(match (answer.agree, answer.verdict) {
        (Some(false), _) => DISAGREE,
        (_, Verdict::Allowed) => 0,
        (_, Verdict::Denied) => DENIED,
    })
}

/// What the running agent says.
fn asked(place: &Place, question: Explain) -> anyhow::Result<Answer> {
    let socket = place.pins().socket();
    let answer = control::ask(&socket, &Request::Explain(question))?;
    answer.context("no agent runs here; --manifests DIR asks a directory instead")
}

/// The line that was given, or the first one of standard input.
fn line_of(given: Option<String>) -> io::Result<String> {
    match given {
        Some(line) if line != "-" => Ok(line),
        _ => {
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            Ok(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::fixture::SHOP;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn explain(further: &[&str]) -> (u8, String, String) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("shop.yaml"), SHOP).unwrap();
        let path = directory.path().to_str().unwrap();
        let words = ["explain", "--manifests", path].into_iter();
        let words = words.chain(further.iter().copied());
        let cli = Cli::try_parse_from(words).unwrap();
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let code = report(cli.args, &mut out, &mut complaints).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(out), text(complaints))
    }

    #[test]
    fn each_end_is_named_with_the_rule_that_allows_or_almost_does() {
        for (words, code, answer) in [
            (
                &["shop/client", "shop/web", "80"][..],
                0,
                "shop/client -> shop/web 80/TCP: allowed\n  \
                 egress of shop/client: allowed, since no policy isolates it\n  \
                 ingress of shop/web: allowed, by spec.ingress[0] of shop/web\n",
            ),
            (
                &["shop/other", "shop/web", "80/tcp"],
                1,
                "shop/other -> shop/web 80/TCP: denied\n  \
                 egress of shop/other: allowed, since no policy isolates it\n  \
                 ingress of shop/web: denied, isolated by shop/deny, shop/web\n    \
                 nearest is spec.ingress[0] of shop/web:\n      \
                 pod label: wants app=client, has \"other\"\n",
            ),
            (
                &["shop/web", "198.51.100.7", "ICMP"],
                1,
                "shop/web -> 198.51.100.7 ICMP: denied\n  \
                 egress of shop/web: denied, isolated by shop/deny\n    \
                 they have no egress rule\n",
            ),
            (
                &["host", "shop/web", "1/SCTP"],
                0,
                "host -> shop/web 1/SCTP: allowed\n  \
                 ingress of shop/web: allowed, since a pod and its own node always reach each other\n",
            ),
            (
                &["shop/client", "shop/web"],
                0,
                "shop/client -> shop/web: TCP 80,8000-8010\n  \
                 egress of shop/client: everything, no policy isolates it\n  \
                 ingress of shop/web: TCP 80,8000-8010, isolated by shop/deny, shop/web\n",
            ),
            (
                &["192.0.2.9", "shop/dual", "53/UDP"],
                0,
                "192.0.2.9 -> shop/dual 53/UDP: allowed\n  \
                 ingress of shop/dual: allowed, by spec.ingress[0] of shop/dual\n",
            ),
            // Only one of its two addresses is in a block.
            (
                &["shop/both", "shop/dual", "53/UDP"],
                1,
                "shop/both -> shop/dual 53/UDP: denied\n\
                 192.0.2.20 -> 192.0.2.21: allowed\n  \
                 egress of shop/both: allowed, since no policy isolates it\n  \
                 ingress of shop/dual: allowed, by spec.ingress[0] of shop/dual\n\
                 fd00::20 -> fd00::21: denied\n  \
                 egress of shop/both: allowed, since no policy isolates it\n  \
                 ingress of shop/dual: denied, isolated by shop/deny, shop/dual\n    \
                 nearest is spec.ingress[0] of shop/dual:\n      \
                 fd00::20 is not in 192.0.2.0/24\n",
            ),
        ] {
            let (got, out, complaints) = explain(words);
            assert_eq!((got, out.as_str()), (code, answer), "{complaints}");
            assert!(
                complaints.contains("shop/broken: spec.podSelectr"),
                "{complaints}"
            );
        }
    }

    #[test]
    fn what_has_no_answer_says_why() {
        for (words, why) in [
            (
                &["shop/nobody", "shop/web", "80"][..],
                "no pod is called shop/nobody",
            ),
            (&["10.0.0.1", "host", "80"], "neither end is a pod"),
            (
                &["shop/agent", "shop/web"],
                "shop/agent is on its node's network",
            ),
        ] {
            let (code, out, complaints) = explain(words);
            assert_eq!((code, out.as_str()), (NO_ANSWER, ""));
            assert!(complaints.contains(why), "{complaints}");
        }
        for words in [["Shop/web", "host", "80"], ["shop/web", "host", "http"]] {
            let words = ["explain", "--manifests", "x"].into_iter().chain(words);
            assert!(Cli::try_parse_from(words).is_err());
        }
    }

    #[test]
    fn a_line_of_the_log_is_a_question() {
        let line = "INFO dropped at=1970-01-01T00:00:00Z direction=\"ingress\" pod=shop/web interface=\"veth\" \
                    peer=shop/other (10.1.0.9) protocol=tcp source_port=4000 port=80 reason=\"policy\"";
        let (code, out, _) = explain(&["--drop", line]);
        assert_eq!(code, 1);
        assert!(
            out.starts_with("shop/other -> shop/web 80/TCP: denied"),
            "{out}"
        );
        let forged = line.replace("policy", "source-address");
        let (code, _, complaints) = explain(&["--drop", &forged]);
        assert_eq!(code, NO_ANSWER);
        assert!(
            complaints.contains("policies were not asked"),
            "{complaints}"
        );
    }

    #[test]
    fn json_says_the_same() {
        let (code, out, _) = explain(&["shop/other", "shop/web", "80", "--output", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &answer["verdict"]), (1, &"denied".into()));
        let ends = &answer["families"][0]["ends"];
        assert_eq!(ends[0]["why"], "not-isolated");
        assert_eq!(ends[1]["why"], "no-rule");
        let nearest = &ends[1]["nearest"];
        assert_eq!(nearest["policy"], "shop/web");
        assert_eq!(nearest["field"], "spec.ingress[0]");
        assert_eq!(nearest["lacks"].as_array().unwrap().len(), 1);
    }
}

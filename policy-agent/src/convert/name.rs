//! The forms of names in the API. Source: `k8s.io/apimachinery/pkg/util/validation`.

use thiserror::Error;

/// A name that is not of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than the form allows.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// Not a DNS-1123 label.
    #[error(
        "must be lowercase letters, digits and '-', beginning and ending with a letter or digit"
    )]
    DnsLabel,
    /// Not a DNS-1123 subdomain.
    #[error(
        "must be lowercase letters, digits, '-' and '.', each part between dots beginning and ending with a letter or digit"
    )]
    DnsSubdomain,
    /// Not a qualified name.
    #[error(
        "must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, with an optional DNS prefix and '/'"
    )]
    Qualified,
    /// Not a label value.
    #[error(
        "must be empty, or letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    )]
    LabelValue,
    /// Not an IANA service name.
    #[error(
        "must be lowercase letters, digits and single '-' between them, with at least one letter"
    )]
    PortName,
}

/// A DNS-1123 label: the name of a namespace.
pub(super) fn dns_label(name: &str) -> Result<(), InvalidName> {
    within(name, 63)?;
    check(is_dns_label(name), InvalidName::DnsLabel)
}

/// A DNS-1123 subdomain: the name of most objects.
pub(super) fn dns_subdomain(name: &str) -> Result<(), InvalidName> {
    within(name, 253)?;
    check(name.split('.').all(is_dns_label), InvalidName::DnsSubdomain)
}

/// A qualified name, such as a label's key: `[prefix/]name`.
pub(super) fn qualified(name: &str) -> Result<(), InvalidName> {
    let local = match name.split_once('/') {
        None => name,
        Some((prefix, local)) => {
            dns_subdomain(prefix)?;
            local
        }
    };
    within(local, 63)?;
    check(is_word(local), InvalidName::Qualified)
}

/// A label's value.
pub(super) fn label_value(value: &str) -> Result<(), InvalidName> {
    if value.is_empty() {
        return Ok(());
    }
    within(value, 63)?;
    check(is_word(value), InvalidName::LabelValue)
}

/// A port's name (RFC 6335 section 5.1).
pub(super) fn port_name(name: &str) -> Result<(), InvalidName> {
    within(name, 15)?;
    check(
        is_dns_label(name)
            && !name.contains("--")
            && name.contains(|c: char| c.is_ascii_lowercase()),
        InvalidName::PortName,
    )
}

fn within(name: &str, limit: usize) -> Result<(), InvalidName> {
    match name.len() {
        0 => Err(InvalidName::Empty),
        length if length > limit => Err(InvalidName::TooLong(limit)),
        _ => Ok(()),
    }
}

fn check(holds: bool, otherwise: InvalidName) -> Result<(), InvalidName> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn is_dns_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_word(word: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    word.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && edge(word.bytes().next())
        && edge(word.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_maximum_length_are_accepted_and_longer_ones_refused() {
        assert_eq!(dns_label(&"a".repeat(63)), Ok(()));
        assert_eq!(dns_label(&"a".repeat(64)), Err(InvalidName::TooLong(63)));
        let subdomain = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(dns_subdomain(&subdomain), Ok(()));
        assert_eq!(
            dns_subdomain(&format!("{subdomain}b")),
            Err(InvalidName::TooLong(253))
        );
        let key = format!("{subdomain}/{}", "K".repeat(63));
        assert_eq!(qualified(&key), Ok(()));
        assert_eq!(qualified(&format!("{key}K")), Err(InvalidName::TooLong(63)));
        assert_eq!(label_value(&"v".repeat(63)), Ok(()));
        assert_eq!(label_value(&"v".repeat(64)), Err(InvalidName::TooLong(63)));
    }

    #[test]
    fn subdomains_are_dotted_labels() {
        for good in ["a", "a.b", "0-a.1", "a-b.c-d"] {
            assert_eq!(dns_subdomain(good), Ok(()), "{good}");
        }
        for bad in ["A", "a..b", ".a", "a.", "-a", "a-.b", "a_b", "ä"] {
            assert_eq!(dns_subdomain(bad), Err(InvalidName::DnsSubdomain), "{bad}");
        }
    }

    #[test]
    fn label_keys_may_have_one_prefix() {
        for good in ["app", "app.kubernetes.io/name", "A_b.c-D", "x/9"] {
            assert_eq!(qualified(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "Upper.case/a", "a b", "-a", "a."] {
            assert!(qualified(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn port_names_are_service_names() {
        for good in ["http", "serve-80-tcp", "a", "0a"] {
            assert_eq!(port_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "80",
            "-a",
            "a-",
            "a--b",
            "Http",
            "a.b",
            "sixteen-letters-",
        ] {
            assert!(port_name(bad).is_err(), "{bad}");
        }
    }
}

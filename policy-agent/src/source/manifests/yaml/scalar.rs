//! What a plain scalar is, as `kubectl` reads it: YAML 1.1 as go-yaml has it, so `on` and `no` are
//! booleans and `0777` is octal, but a day is a text.
//!
//! Pure: one text in, one value out.

/// A plain scalar's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Integer {
        value: i128,
        /// A leading zero made it octal, which hardly anybody means.
        octal: bool,
    },
    Float(f64),
    /// The text itself.
    Text,
}

/// What a plain text is.
pub(super) fn resolve(text: &str) -> Scalar {
    let Some(first) = text.bytes().next() else {
        return Scalar::Null;
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => number(text),
        _ => word(text).unwrap_or(Scalar::Text),
    }
}

fn word(text: &str) -> Option<Scalar> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => return None,
    })
}

fn number(text: &str) -> Scalar {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if text.starts_with('.') {
        return float(text).map_or(Scalar::Text, Scalar::Float);
    }
    let plain = text.replace('_', "");
    if let Some((value, octal)) = integer(&plain) {
        return Scalar::Integer { value, octal };
    }
    float(&plain).map_or(Scalar::Text, Scalar::Float)
}

/// A number with Go's prefixes, in 64 bits: signed, or unsigned without a sign.
fn integer(text: &str) -> Option<(i128, bool)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let prefixed = |prefix: &str| {
        let head = unsigned.get(..2)?;
        head.eq_ignore_ascii_case(prefix).then(|| &unsigned[2..])
    };
    let (digits, radix, octal) = if let Some(digits) = prefixed("0x") {
        (digits, 16, false)
    } else if let Some(digits) = prefixed("0o") {
        (digits, 8, false)
    } else if let Some(digits) = prefixed("0b") {
        (digits, 2, false)
    } else if unsigned.len() > 1 && unsigned.starts_with('0') {
        (unsigned, 8, true)
    } else {
        (unsigned, 10, false)
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    let value = if text.starts_with('-') { -size } else { size };
    let most = if text.starts_with('+') {
        i128::from(i64::MAX)
    } else {
        i128::from(u64::MAX)
    };
    (i128::from(i64::MIN)..=most)
        .contains(&value)
        .then_some((value, octal))
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !(whole && exponent) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(value)
}

/// A float as the key of a map: with the digits of 32 bits, as `kubectl` writes it.
pub(super) fn float_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "as kubectl does it")]
    let short = value as f32;
    if short.is_nan() {
        return ".nan".to_owned();
    }
    if short.is_infinite() {
        return if short > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let written = format!("{short:e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // As Go's %g with the shortest precision.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{short}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(value: i128) -> Scalar {
        Scalar::Integer {
            value,
            octal: false,
        }
    }

    #[test]
    fn words_are_booleans_and_nulls_as_yaml_1_1_has_them() {
        for text in ["y", "Yes", "on", "TRUE"] {
            assert_eq!(resolve(text), Scalar::Bool(true), "{text}");
        }
        for text in ["n", "NO", "off", "False"] {
            assert_eq!(resolve(text), Scalar::Bool(false), "{text}");
        }
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(resolve(text), Scalar::Null, "{text}");
        }
        for text in ["yEs", "oN", "nULL", "none", "tr", "<<", "=", "é"] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
    }

    #[test]
    fn integers_have_the_prefixes_signs_and_underscores_of_go() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+80", 80),
            ("1_000", 1000),
            ("0x50", 80),
            ("-0X5_0", -80),
            ("0o120", 80),
            ("0b101", 5),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(resolve(text), integer(value), "{text}");
        }
        for (text, value) in [("0777", 511), ("00", 0), ("-010", -8)] {
            let octal = Scalar::Integer { value, octal: true };
            assert_eq!(resolve(text), octal, "{text}");
        }
        for text in ["0x", "0b2", "1a", "-", "+", "--1", "_1", "1:30", "0x_g"] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
    }

    #[test]
    fn a_zero_led_number_that_is_no_octal_is_a_decimal_one() {
        assert_eq!(resolve("080"), Scalar::Float(80.0));
        assert_eq!(resolve("0_9"), Scalar::Float(9.0));
    }

    #[test]
    fn floats_are_decimal_and_finite() {
        for (text, value) in [
            ("80.0", 80.0),
            ("8e1", 80.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("-1.5E-1", -0.15),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
        ] {
            assert_eq!(resolve(text), Scalar::Float(value), "{text}");
        }
        for text in [".", "1.2.3", "1e", "1e999", "e1", "0x1p4", "1.0.0"] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
        assert_eq!(resolve("-.inf"), Scalar::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn days_and_instants_are_texts() {
        for text in ["2026-01-02", "2026-01-02T03:04:05Z", "1:30"] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
    }

    #[test]
    fn float_keys_have_the_form_that_kubectl_gives_them() {
        for (value, key) in [
            (1.10, "1.1"),
            (80.0, "80"),
            (1e6, "1e+06"),
            (123_456.5, "123456.5"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (-1.5, "-1.5"),
        ] {
            assert_eq!(float_key(value), key);
        }
    }
}

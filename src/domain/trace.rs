//! The trace that a client's call belongs to, as the W3C's trace context names it.

/// Where in a trace a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: u128,
    /// The client's own span.
    pub span: u64,
    /// Whether the client records its trace, so that ours of it should be recorded too.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the header `traceparent` (W3C Trace Context, level 1); one that breaks its rules counts as absent, as it
    /// demands.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may add parts; this one has none.
        let is_known = version == "00" && parts.next().is_none();
        if !(is_known || (is_hex(version, 2) && version != "ff" && version != "00")) {
            return None;
        }
        if !(is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|&span| span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn check(header: &str, sampled: Option<bool>) {
        let expected = sampled.map(|sampled| TraceParent {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled,
        });
        assert_eq!(TraceParent::parse(header), expected, "{header}");
    }

    #[test]
    fn a_header_that_keeps_the_rules_is_read() {
        check(&format!("00-{TRACE}-{SPAN}-01"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-00"), Some(false));
        check(&format!("cc-{TRACE}-{SPAN}-03-what-the-future-will-be-like"), Some(true));
    }

    #[test]
    fn a_header_that_breaks_them_counts_as_absent() {
        check("", None);
        check(TRACE, None);
        check(&format!("ff-{TRACE}-{SPAN}-01"), None);
        check(&format!("00-{TRACE}-{SPAN}-01-more"), None);
        check(&format!("00-{TRACE}-{SPAN}"), None);
        check(&format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(&format!("00-{TRACE}-{SPAN}-0x"), None);
        check(&format!("00-+{}-{SPAN}-01", &TRACE[1..]), None);
    }
}

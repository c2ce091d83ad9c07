//! Comparing two texts line by line.

/// Table cells of the comparison that are worked out at most: more would take long, and such texts differ as a whole.
const CELLS_MAX: usize = 4_000_000;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It stands in both.
    Kept,
    /// It stands in the older one alone.
    Removed,
    /// It stands in the newer one alone.
    Added,
}

impl Edit {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Removed => "removed",
            Self::Added => "added",
        }
    }
}

/// A line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What became of it.
    pub edit: Edit,
    /// What it says.
    pub text: String,
}

/// The lines of both texts in one order, with as few that differ as can be.
pub fn diff(older: &str, newer: &str) -> Vec<Line> {
    let (older, newer): (Vec<&str>, Vec<&str>) = (older.lines().collect(), newer.lines().collect());
    let same_start = older.iter().zip(&newer).take_while(|(a, b)| a == b).count();
    let (old, new) = (&older[same_start..], &newer[same_start..]);
    let same_end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - same_end], &new[..new.len() - same_end]);
    let line = |edit| move |text: &&str| Line { edit, text: (*text).to_owned() };
    let mut lines: Vec<Line> = older[..same_start].iter().map(line(Edit::Kept)).collect();
    if old.len().saturating_mul(new.len()) > CELLS_MAX {
        lines.extend(old.iter().map(line(Edit::Removed)));
        lines.extend(new.iter().map(line(Edit::Added)));
    } else {
        between(old, new, &mut lines);
    }
    lines.extend(older[older.len() - same_end..].iter().map(line(Edit::Kept)));
    lines
}

/// Compares what lies between the same start and the same end, by the longest lines that both have in common.
fn between(old: &[&str], new: &[&str], lines: &mut Vec<Line>) {
    let width = new.len() + 1;
    // common[i * width + j]: how many lines old[i..] and new[j..] have in common.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let is_same = i < old.len() && j < new.len() && old[i] == new[j];
        let removes = i < old.len() && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]);
        let (edit, text) = match (is_same, removes) {
            (true, _) => (Edit::Kept, old[i]),
            (false, true) => (Edit::Removed, old[i]),
            (false, false) => (Edit::Added, new[j]),
        };
        i += usize::from(edit != Edit::Added);
        j += usize::from(edit != Edit::Removed);
        lines.push(Line { edit, text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(older: &str, newer: &str) -> String {
        let sign = |line: &Line| match line.edit {
            Edit::Kept => ' ',
            Edit::Removed => '-',
            Edit::Added => '+',
        };
        let lines: Vec<String> =
            diff(older, newer).iter().map(|line| format!("{}{} ", sign(line), line.text)).collect();
        lines.concat()
    }

    #[test]
    fn lines_that_differ_stand_between_those_that_do_not() {
        let check = |older: &str, newer: &str, expected: &str| assert_eq!(shown(older, newer), expected);
        check("", "", "");
        check("a\nb\nc", "a\nb\nc", " a  b  c ");
        check("a\nb\nc", "a\nx\nc", " a -b +x  c ");
        check("a\nc", "a\nb\nc", " a +b  c ");
        check("a\nb\nc\nd", "a\nd", " a -b -c  d ");
        check("", "a", "+a ");
        check("a\nb\nc\nd\ne", "x\nb\ny\nd\nz", "-a +x  b -c +y  d -e +z ");
    }

    #[test]
    fn texts_that_are_too_long_to_be_compared_differ_as_a_whole() {
        let lines = |word: &str| (0..3_000).map(|number| format!("{word}{number}\n")).collect::<Vec<_>>().concat();
        let compared = diff(&lines("a"), &lines("b"));
        assert_eq!(compared.len(), 6_000);
        assert!(compared.iter().all(|line| line.edit != Edit::Kept));
    }

    proptest! {
        #[test]
        fn each_text_can_be_read_out_of_the_comparison(older in "[abc\n]{0,40}", newer in "[abc\n]{0,40}") {
            let lines = diff(&older, &newer);
            let without = |edit| {
                lines.iter().filter(|line| line.edit != edit).map(|line| line.text.as_str()).collect::<Vec<_>>()
            };
            prop_assert_eq!(without(Edit::Added), older.lines().collect::<Vec<_>>());
            prop_assert_eq!(without(Edit::Removed), newer.lines().collect::<Vec<_>>());
        }
    }
}

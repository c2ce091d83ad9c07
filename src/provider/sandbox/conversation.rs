//! A conversation with its dialect taken off: who said what, and what that means for the answer.

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// One thing said.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) text: String,
}

/// All that was said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Conversation {
    turns: Vec<Turn>,
    /// The tokens of it all.
    pub(super) tokens: u64,
}

impl Conversation {
    pub(super) fn push(&mut self, role: Role, text: String) {
        self.turns.push(Turn { role, text });
    }

    /// The last words of the user, empty where there are none.
    pub(super) fn last_user(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role == Role::User).map_or("", |turn| &turn.text)
    }

    /// What tools answered since the assistant spoke last.
    pub(super) fn fresh_results(&self) -> impl Iterator<Item = &str> {
        let since = self.turns.iter().rposition(|turn| turn.role == Role::Assistant).map_or(0, |last| last + 1);
        self.turns[since..].iter().filter(|turn| turn.role == Role::Tool).map(|turn| turn.text.as_str())
    }

    /// Whether a tool ever answered.
    pub(super) fn has_results(&self) -> bool {
        self.turns.iter().any(|turn| turn.role == Role::Tool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_since_the_last_answer_are_fresh() {
        let mut conversation = Conversation::default();
        for (role, text) in [
            (Role::User, "first"),
            (Role::Assistant, ""),
            (Role::Tool, "old"),
            (Role::Assistant, ""),
            (Role::Tool, "new"),
            (Role::User, "second"),
        ] {
            conversation.push(role, text.to_owned());
        }
        assert_eq!(conversation.fresh_results().collect::<Vec<_>>(), ["new"]);
        assert_eq!(conversation.last_user(), "second");
        conversation.push(Role::Assistant, String::new());
        assert_eq!(conversation.fresh_results().count(), 0);
        assert!(conversation.has_results());
    }
}

//! Pure: a parsed pattern.

/// The deepest tree that Go builds (`maxHeight` in `regexp/syntax`).
pub(super) const MAX_HEIGHT: u32 = 1000;

/// The most copies of a part that nested repetitions may ask for (`repeatIsValid` in `regexp/syntax`).
pub(super) const MAX_REPEAT: u32 = 1000;

/// A part of a pattern, and what its limits need to know about it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Levels of nodes, this one included.
    pub(super) height: u32,
    /// The largest product of the repetitions along a path from this node to a leaf.
    pub(super) copies: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Matches the empty text.
    Empty,
    /// Characters one after another.
    Literal {
        text: String,
        fold: Fold,
    },
    /// A class or an assertion in the syntax of the `regex` crate; it needs no parentheses before a repetition.
    Atom(String),
    Capture {
        /// The name in the syntax of the `regex` crate.
        name: Option<String>,
        sub: Box<Node>,
    },
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
    Repeat {
        operator: Operator,
        greed: Greed,
        sub: Box<Node>,
    },
}

/// Whether upper and lower case are the same (flag `i`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    Exact,
    AnyCase,
}

/// Whether a repetition prefers more or fewer matches (`?` after it, and flag `U`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Star,
    Plus,
    Quest,
    /// `{min}`, `{min,}` and `{min,max}`; without a `max`, there is no upper bound.
    Counted {
        min: u32,
        max: Option<u32>,
    },
}

impl Node {
    pub(super) fn leaf(kind: Kind) -> Self {
        Self {
            kind,
            height: 1,
            copies: 1,
        }
    }

    pub(super) fn literal(text: String, fold: Fold) -> Self {
        Self::leaf(Kind::Literal { text, fold })
    }

    pub(super) fn capture(name: Option<String>, sub: Self) -> Self {
        Self {
            height: sub.height + 1,
            copies: sub.copies,
            kind: Kind::Capture {
                name,
                sub: Box::new(sub),
            },
        }
    }

    /// Parts after one another. A single part stands for itself.
    pub(super) fn concat(parts: Vec<Self>) -> Self {
        Self::of_parts(parts, Kind::Concat)
    }

    /// What a group without a capture holds: a repetition after it repeats all of it.
    pub(super) fn group(sub: Self) -> Self {
        match sub.kind {
            Kind::Literal { .. } => Self {
                height: sub.height,
                copies: sub.copies,
                kind: Kind::Concat(vec![sub]),
            },
            _ => sub,
        }
    }

    /// Alternatives, of which the first that matches is preferred. A single alternative stands for itself.
    pub(super) fn alternate(parts: Vec<Self>) -> Self {
        Self::of_parts(parts, Kind::Alternate)
    }

    fn of_parts(mut parts: Vec<Self>, kind: fn(Vec<Self>) -> Kind) -> Self {
        if parts.len() < 2 {
            return parts.pop().unwrap_or_else(|| Self::leaf(Kind::Empty));
        }
        Self {
            height: 1 + parts.iter().map(|part| part.height).max().unwrap_or(0),
            copies: parts.iter().map(|part| part.copies).max().unwrap_or(1),
            kind: kind(parts),
        }
    }

    pub(super) fn repeat(operator: Operator, greed: Greed, sub: Self) -> Self {
        let copies = match operator {
            // Go does not look into what is left out anyway.
            Operator::Counted { max: Some(0), .. } => 1,
            Operator::Counted { min, max } => sub.copies.saturating_mul(max.unwrap_or(min).max(1)),
            Operator::Star | Operator::Plus | Operator::Quest => sub.copies,
        };
        Self {
            height: sub.height + 1,
            copies,
            kind: Kind::Repeat {
                operator,
                greed,
                sub: Box::new(sub),
            },
        }
    }
}

//! Pure: a pattern's text to nodes, by the rules of `parse` in Go's `regexp/syntax/parse.go` with the flags of
//! `regexp.Compile` (`syntax.Perl`).

use super::class;
use super::error::{ErrorCode, SyntaxError, read_between};
use super::node::{Fold, Greed, Kind, MAX_HEIGHT, MAX_REPEAT, Node, Operator};
use super::template::mangled;

/// The flags that are in force at a place of the pattern.
#[derive(Debug, Clone, Copy)]
struct Flags {
    /// `i`
    fold: Fold,
    /// `m`: `^` and `$` match at line breaks too.
    multi_line: bool,
    /// `s`: `.` matches a line break too.
    dot_all: bool,
    /// `U`: the meanings of `*` and `*?` are swapped.
    swap_greed: bool,
}

/// A group that is open; the outermost is the pattern itself.
struct Group {
    kind: GroupKind,
    /// The flags that are in force again after the group.
    outer_flags: Flags,
    alternatives: Vec<Node>,
    /// What has been read of the current alternative.
    parts: Vec<Node>,
}

enum GroupKind {
    Pattern,
    NonCapturing,
    Capturing { name: Option<String> },
}

struct Parser<'p> {
    pattern: &'p str,
    /// What is left of the pattern.
    rest: &'p str,
    flags: Flags,
    /// The outermost group is the first, and is always there.
    outer: Vec<Group>,
    group: Group,
    /// Names of groups in the order of the pattern.
    names: Vec<&'p str>,
    /// The text from the last operator of a repetition on, if the last item was a repetition.
    last_repeat: Option<&'p str>,
}

type Parsed<T> = Result<T, SyntaxError>;

fn fail<T>(code: ErrorCode, expression: &str) -> Parsed<T> {
    Err(SyntaxError::new(code, expression))
}

/// Parses a pattern.
pub(super) fn parse(pattern: &str) -> Parsed<Node> {
    let flags = Flags {
        fold: Fold::Exact,
        multi_line: false,
        dot_all: false,
        swap_greed: false,
    };
    let mut parser = Parser {
        pattern,
        rest: pattern,
        flags,
        outer: Vec::new(),
        group: Group::open(GroupKind::Pattern, flags),
        names: Vec::new(),
        last_repeat: None,
    };
    while let Some(c) = parser.rest.chars().next() {
        let repeat = parser.item(c)?;
        parser.last_repeat = repeat;
    }
    let pattern_group = parser.close_alternative()?;
    if parser.outer.is_empty() {
        Ok(pattern_group)
    } else {
        Err(SyntaxError::new(ErrorCode::MissingParen, pattern))
    }
}

impl Group {
    fn open(kind: GroupKind, outer_flags: Flags) -> Self {
        Self {
            kind,
            outer_flags,
            alternatives: Vec::new(),
            parts: Vec::new(),
        }
    }
}

impl<'p> Parser<'p> {
    /// Reads the next item. If it is a repetition, the result is the text from its operator on.
    fn item(&mut self, first: char) -> Parsed<Option<&'p str>> {
        match first {
            '(' if self.rest.starts_with("(?") => self.special_group()?,
            '(' => {
                self.advance(1);
                self.open(GroupKind::Capturing { name: None }, self.flags);
            }
            '|' => {
                self.advance(1);
                let alternative = self.concat()?;
                self.group.alternatives.push(alternative);
            }
            ')' => {
                self.advance(1);
                self.close()?;
            }
            '^' if self.flags.multi_line => self.atom(1, "(?m:^)"),
            '^' => self.atom(1, r"\A"),
            '$' if self.flags.multi_line => self.atom(1, "(?m:$)"),
            '$' => self.atom(1, r"\z"),
            '.' if self.flags.dot_all => self.atom(1, "(?s:.)"),
            '.' => self.atom(1, "."),
            '[' => {
                let (class, rest) = class::parse_class(self.rest, self.flags.fold)?;
                self.rest = rest;
                self.push(Node::leaf(Kind::Atom(class)));
            }
            '*' => return self.repeat(Operator::Star, self.after_first()).map(Some),
            '+' => return self.repeat(Operator::Plus, self.after_first()).map(Some),
            '?' => return self.repeat(Operator::Quest, self.after_first()).map(Some),
            '{' => return self.brace(),
            '\\' => self.escape()?,
            c => {
                self.advance(c.len_utf8());
                self.literal(c);
            }
        }
        Ok(None)
    }

    /// The text after the next letter.
    fn after_first(&self) -> &'p str {
        let mut letters = self.rest.chars();
        letters.next();
        letters.as_str()
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// The text between the start of `from` and what is left of the pattern.
    fn read_since(&self, from: &'p str) -> &'p str {
        read_between(from, self.rest)
    }

    fn push(&mut self, node: Node) {
        self.group.parts.push(node);
    }

    fn atom(&mut self, bytes: usize, text: &str) {
        self.advance(bytes);
        self.push(Node::leaf(Kind::Atom(text.to_owned())));
    }

    fn literal(&mut self, c: char) {
        let same_case = self.flags.fold;
        match self.group.parts.last_mut().map(|part| &mut part.kind) {
            Some(Kind::Literal { text, fold }) if *fold == same_case => text.push(c),
            _ => {
                self.push(Node::literal(c.to_string(), same_case));
                return;
            }
        }
        if let Some(part) = self.group.parts.last_mut() {
            part.states = part.states.saturating_add(c.len_utf8());
        }
    }

    /// A node whose tree may be too deep.
    fn checked(&self, node: Node) -> Parsed<Node> {
        if node.height > MAX_HEIGHT {
            return fail(ErrorCode::NestingDepth, self.pattern);
        }
        Ok(node)
    }

    fn concat(&mut self) -> Parsed<Node> {
        let parts = std::mem::take(&mut self.group.parts);
        self.checked(Node::concat(parts))
    }

    /// The alternatives of the current group, the last of which ends here.
    fn close_alternative(&mut self) -> Parsed<Node> {
        let last = self.concat()?;
        let mut alternatives = std::mem::take(&mut self.group.alternatives);
        alternatives.push(last);
        self.checked(Node::alternate(alternatives))
    }

    fn open(&mut self, kind: GroupKind, flags: Flags) {
        let group = Group::open(kind, self.flags);
        self.outer.push(std::mem::replace(&mut self.group, group));
        self.flags = flags;
    }

    fn close(&mut self) -> Parsed<()> {
        let inside = self.close_alternative()?;
        let Some(outer) = self.outer.pop() else {
            return fail(ErrorCode::UnexpectedParen, self.pattern);
        };
        let group = std::mem::replace(&mut self.group, outer);
        self.flags = group.outer_flags;
        let node = match group.kind {
            GroupKind::Capturing { name } => self.checked(Node::capture(name, inside))?,
            GroupKind::Pattern | GroupKind::NonCapturing => Node::group(inside),
        };
        self.push(node);
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,3}`; a brace that begins none of these is a literal.
    fn brace(&mut self) -> Parsed<Option<&'p str>> {
        let Some((count, after)) = parse_count(self.rest) else {
            self.advance(1);
            self.literal('{');
            return Ok(None);
        };
        let Count { min, max } = count;
        let in_order = max.is_none_or(|max| min <= max);
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT) || !in_order {
            let expression = read_between(self.rest, after);
            return fail(ErrorCode::InvalidRepeatSize, expression);
        }
        self.repeat(Operator::Counted { min, max }, after).map(Some)
    }

    /// Repeats the last part. `after` is the text after the operator.
    fn repeat(&mut self, operator: Operator, after: &'p str) -> Parsed<&'p str> {
        let before = self.rest;
        let (lazy, after) = match after.strip_prefix('?') {
            Some(after) => (true, after),
            None => (false, after),
        };
        self.rest = after;
        if let Some(last) = self.last_repeat {
            return fail(ErrorCode::InvalidRepeatOp, self.read_since(last));
        }
        let Some(sub) = self.pop_repeated() else {
            return fail(ErrorCode::MissingRepeatArgument, self.read_since(before));
        };
        let greed = if lazy == self.flags.swap_greed {
            Greed::Greedy
        } else {
            Greed::Lazy
        };
        let node = self.checked(Node::repeat(operator, greed, sub))?;
        let multiplies = matches!(operator, Operator::Counted { min, max }
            if min >= 2 || max.is_some_and(|max| max >= 2));
        if multiplies && node.copies > MAX_REPEAT {
            return fail(ErrorCode::InvalidRepeatSize, self.read_since(before));
        }
        self.push(node);
        Ok(before)
    }

    /// Takes the part that a repetition applies to: the last character of a literal, or the last part.
    fn pop_repeated(&mut self) -> Option<Node> {
        let mut last = self.group.parts.pop()?;
        if let Kind::Literal { text, fold } = &mut last.kind {
            let c = text.pop()?;
            let fold = *fold;
            if !text.is_empty() {
                last.states = text.len();
                self.group.parts.push(last);
            }
            return Some(Node::literal(c.to_string(), fold));
        }
        Some(last)
    }

    /// `\` and what follows it, outside a class.
    fn escape(&mut self) -> Parsed<()> {
        let from = self.rest;
        match from.as_bytes().get(1) {
            Some(b'A') => self.atom(2, r"\A"),
            Some(b'z') => self.atom(2, r"\z"),
            Some(b'b') => self.atom(2, r"(?-u:\b)"),
            Some(b'B') => self.atom(2, r"(?-u:\B)"),
            // Go's text has no single bytes.
            Some(b'C') => return fail(ErrorCode::InvalidEscape, r"\C"),
            Some(b'Q') => {
                self.advance(2);
                let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                quoted.chars().for_each(|c| self.literal(c));
                self.rest = rest;
            }
            _ => {
                if let Some((class, rest)) = class::parse_shorthand(from, self.flags.fold)? {
                    self.rest = rest;
                    self.push(Node::leaf(Kind::Atom(class)));
                    return Ok(());
                }
                let (code_point, rest) = class::parse_escape(from)?;
                self.rest = rest;
                match char::from_u32(code_point) {
                    Some(c) => self.literal(c),
                    // A surrogate matches no text.
                    None => self.push(Node::leaf(Kind::Atom(class::NOTHING.to_owned()))),
                }
            }
        }
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn special_group(&mut self) -> Parsed<()> {
        let from = self.rest;
        let named = |prefix: &str| from.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        match named("(?P<").or_else(|| named("(?<")) {
            Some(name) => self.named_group(from, name),
            None => self.flag_group(from),
        }
    }

    fn named_group(&mut self, from: &'p str, rest: &'p str) -> Parsed<()> {
        // Go looks for the end from the start of the group on.
        let Some((name, after)) = rest.split_once('>') else {
            return fail(ErrorCode::InvalidNamedCapture, from);
        };
        self.rest = after;
        let is_valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(is_valid) {
            return fail(ErrorCode::InvalidNamedCapture, self.read_since(from));
        }
        let earlier = self.names.iter().filter(|other| **other == name).count();
        self.names.push(name);
        let name = Some(mangled(name, earlier));
        self.open(GroupKind::Capturing { name }, self.flags);
        Ok(())
    }

    fn flag_group(&mut self, from: &'p str) -> Parsed<()> {
        self.advance(2);
        let mut flags = self.flags;
        let mut value = true;
        let mut has_flag_after_minus = false;
        while let Some(c) = self.rest.chars().next() {
            self.advance(c.len_utf8());
            match c {
                'i' => flags.fold = if value { Fold::AnyCase } else { Fold::Exact },
                'm' => flags.multi_line = value,
                's' => flags.dot_all = value,
                'U' => flags.swap_greed = value,
                '-' if value => {
                    value = false;
                    continue;
                }
                ':' | ')' if value || has_flag_after_minus => {
                    if c == ':' {
                        self.open(GroupKind::NonCapturing, flags);
                    } else {
                        self.flags = flags;
                    }
                    return Ok(());
                }
                _ => break,
            }
            has_flag_after_minus = !value;
        }
        fail(ErrorCode::InvalidPerlOp, self.read_since(from))
    }
}

/// The bounds of a repetition. A number that is too large to matter is `u32::MAX`.
struct Count {
    min: u32,
    max: Option<u32>,
}

/// Parses `{min}`, `{min,}` or `{min,max}` and gives the text after it.
fn parse_count(text: &str) -> Option<(Count, &str)> {
    let (min, rest) = parse_number(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = parse_number(rest)?;
            (Some(max), rest)
        }
    };
    Some((Count { min, max }, rest.strip_prefix('}')?))
}

/// Parses a decimal number without leading zeros.
fn parse_number(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

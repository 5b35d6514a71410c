//! Pure: follows a path through a text.
//!
//! The text is read from left to right, and never parsed as a whole: a member or element that the path does not ask
//! for is skipped by counting brackets and quotes. If a step leads into an object or array that lacks the rest of the
//! path, the search goes on behind it, so of two members with one name the first counts that has the rest.
//!
//! The functions follow `gjson.go` 1.18: `get_here` is `Get`, `object` is `parseObject`, `array` is `parseArray`,
//! `holds` is `queryMatches`. Paths and texts may come from different people, so a search counts what it
//! reads and makes, and its levels of recursion (`work`); gjson has no such limits.

use std::borrow::Cow;

use crate::TooMuch;
use crate::modifiers::{self, Modifier, bracketed};
use crate::path::{self, Next, Query, Selected, What, is_simple, last_name, selection, split_pipe};
use crate::scan::{
    Begin, Found, Kind, begin, elements, float, members, nested_end, string_end, unquoted,
    value_at, whole,
};
use crate::strings::quote;
use crate::wildcard;
use crate::work::Work;

/// Follows paths through texts.
///
/// One search serves a whole call of `get`, its modifiers and queries included, so that they share the limits.
#[derive(Default)]
pub(crate) struct Search {
    work: Work,
}

/// A text that is searched, the value that was found in it, and the rest of the path.
///
/// `pipe` is a path for the found value that stands behind a `|`. It is set where the path is read and used when the
/// search has ended, even if nothing was found.
struct Context<'j, 'p> {
    json: &'j [u8],
    value: Found<'j>,
    pipe: Option<&'p [u8]>,
}

/// The text that the beginning of a path makes, and the rest of the path; none if the path does not begin so.
type Begun<'p> = Result<Option<(Vec<u8>, &'p [u8])>, TooMuch>;

/// Where the search in an object or array ended, and whether it found the member or element.
type Ended = (usize, bool);

impl Search {
    /// The value at a path in a text.
    pub(crate) fn get<'j>(&self, json: &'j [u8], path: &[u8]) -> Result<Found<'j>, TooMuch> {
        self.work.charge(json.len())?;
        self.work.deeper(|| self.get_here(json, path))
    }

    /// The same in a text that will not stay.
    ///
    /// A modifier makes a text, and a path may go on in it; the value is copied out of it.
    fn get_owned(&self, json: &[u8], path: &[u8]) -> Result<Found<'static>, TooMuch> {
        let found = self.get(json, path)?;
        self.work.allocate(found.raw.len())?;
        Ok(Found {
            kind: found.kind,
            raw: Cow::Owned(found.raw.into_owned()),
        })
    }

    /// A path that begins with `@`, `!`, `[` or `{` makes a text of its own; any other path leads into the first
    /// object or array of the text. `..` takes the text for an array of its lines.
    fn get_here<'j>(&self, json: &'j [u8], path: &[u8]) -> Result<Found<'j>, TooMuch> {
        if path.len() > 1 {
            let begun = match path[0] {
                b'@' => self.modify(json, path)?,
                b'!' => literal(path).map(|(text, rest)| (text.to_vec(), rest)),
                b'[' | b'{' => self.select(json, path)?,
                _ => None,
            };
            if let Some((text, rest)) = begun {
                self.work.charge(text.len())?;
                return match rest {
                    [b'|' | b'.', rest @ ..] => self.get_owned(&text, rest),
                    _ => {
                        let found = whole(&text);
                        Ok(Found::made(found.kind, found.raw.to_vec()))
                    }
                };
            }
        }
        let mut context = Context {
            json,
            value: Found::default(),
            pipe: None,
        };
        if let [b'.', b'.', rest @ ..] = path {
            // The lines of a text of several values, as if they were an array.
            self.array(&mut context, 0, rest)?;
        } else if let Some(start) = json.iter().position(|byte| matches!(byte, b'{' | b'[')) {
            if json[start] == b'{' {
                self.object(&mut context, start + 1, path)?;
            } else {
                self.array(&mut context, start + 1, path)?;
            }
        }
        match context.pipe {
            Some(pipe) => self.get_owned(&context.value.raw, pipe),
            None => Ok(context.value),
        }
    }

    /// Runs the modifier at the start of a path.
    fn modify<'p>(&self, json: &[u8], path: &'p [u8]) -> Begun<'p> {
        let Some(call) = modifiers::call(path) else {
            return Ok(None);
        };
        let text = match call.modifier {
            Modifier::OnText(modifier) => {
                /// A value of a list that is taken apart takes so many times its shortest text, `1,`.
                const OF_LIST: usize = 40;
                self.work.allocate(json.len().saturating_mul(OF_LIST))?;
                modifier(&self.work, json, call.argument)?
            }
            Modifier::Dig => {
                let mut found = Vec::new();
                self.dig(&whole(json), call.argument, &mut found)?;
                bracketed(b'[', &found, b']')
            }
        };
        Ok(Some((text, call.rest)))
    }

    /// The values at a path in a value and in everything inside it.
    fn dig(&self, value: &Found<'_>, path: &[u8], found: &mut Vec<Vec<u8>>) -> Result<(), TooMuch> {
        let here = self.get(&value.raw, path)?;
        if here.exists() {
            self.work.charge(here.raw.len())?;
            self.work.allocate(here.raw.len())?;
            found.push(here.raw.into_owned());
        }
        self.work.deeper(|| {
            if value.is_object() {
                members(&value.raw).try_for_each(|(_, value)| self.dig(&value, path, found))
            } else if value.is_array() {
                elements(&value.raw).try_for_each(|value| self.dig(&value, path, found))
            } else {
                Ok(())
            }
        })
    }

    /// Searches the object or array at `at`.
    fn inside<'p>(
        &self,
        context: &mut Context<'_, 'p>,
        at: usize,
        path: &'p [u8],
    ) -> Result<Ended, TooMuch> {
        self.work.deeper(|| {
            if context.json[at] == b'{' {
                self.object(context, at + 1, path)
            } else {
                self.array(context, at + 1, path)
            }
        })
    }

    /// Searches the members of the object whose first one stands at `start` or behind it. The end is behind the
    /// closing bracket, or behind the value that was found.
    fn object<'p>(
        &self,
        context: &mut Context<'_, 'p>,
        start: usize,
        path: &'p [u8],
    ) -> Result<Ended, TooMuch> {
        let json = context.json;
        let key = path::key(path);
        if let Next::Pipe(pipe) = key.next {
            context.pipe = Some(pipe);
        }
        let mut at = start;
        loop {
            let found = (at..json.len()).find(|at| matches!(json[*at], b'"' | b'}'));
            let Some(name_at) = found else {
                return Ok((json.len(), false));
            };
            if json[name_at] == b'}' {
                return Ok((name_at + 1, false));
            }
            let Some(name_end) = string_end(json, name_at) else {
                return Ok((json.len(), false));
            };
            let name = unquoted(&json[name_at..name_end]);
            let wanted = if key.wild {
                self.work.charge(name.len() * key.name.len())?;
                wildcard::matches(&name, &key.name)
            } else {
                name == key.name
            };
            let found = (name_end..json.len()).find(|at| begin(json, *at) != Begin::Other);
            let Some(value_begins) = found else {
                return Ok((json.len(), false));
            };
            if let (true, Next::Inside(rest), Begin::Nested) =
                (wanted, key.next, begin(json, value_begins))
            {
                let (end, hit) = self.inside(context, value_begins, rest)?;
                if hit {
                    return Ok((end, true));
                }
                at = end;
                continue;
            }
            let Some((value, end)) = value_at(json, value_begins) else {
                return Ok((json.len(), false));
            };
            if wanted && !matches!(key.next, Next::Inside(_)) {
                context.value = value;
                return Ok((end, true));
            }
            at = end;
        }
    }

    /// Searches the elements of the array. The end has the same meaning as that of an object; `#` and queries for all
    /// read the array to its end.
    fn array<'p>(
        &self,
        context: &mut Context<'_, 'p>,
        start: usize,
        path: &'p [u8],
    ) -> Result<Ended, TooMuch> {
        let json = context.json;
        let element = path::element(path);
        if let Next::Pipe(pipe) = element.next {
            context.pipe = Some(pipe);
        }
        let mut gathered = Gathered::default();
        let (mut at, mut count) = (start, 0);
        loop {
            let found =
                (at..json.len()).find(|at| json[*at] == b']' || begin(json, *at) != Begin::Other);
            let Some(value_begins) = found.filter(|at| json[*at] != b']') else {
                let end = found.map_or(json.len(), |at| at + 1);
                return Ok((end, finish(context, &element.what, count, gathered)));
            };
            let wanted = matches!(element.what, What::Index(Some(index)) if index == count);
            count += 1;
            if let (true, Next::Inside(rest), Begin::Nested) =
                (wanted, element.next, begin(json, value_begins))
            {
                let (end, hit) = self.inside(context, value_begins, rest)?;
                if hit {
                    return Ok((end, true));
                }
                at = end;
                continue;
            }
            let Some((value, end)) = value_at(json, value_begins) else {
                return Ok((json.len(), false));
            };
            at = end;
            match &element.what {
                What::Each(path) => {
                    let path = split_pipe(path).map_or(*path, |(path, _)| path);
                    let found = self.get(&value.raw, path)?;
                    self.gather(&mut gathered, &found)?;
                }
                What::Query { query, all } => {
                    let Some(found) = self.query(context, query, element.next, &value)? else {
                        continue;
                    };
                    if !*all {
                        context.value = found;
                        return Ok((end, true));
                    }
                    self.gather(&mut gathered, &found)?;
                }
                _ if wanted && !matches!(element.next, Next::Inside(_)) => {
                    context.value = value;
                    return Ok((end, true));
                }
                _ => {}
            }
        }
    }

    /// Appends a value to those of `#.path` or a query for all. An element without the value is left out.
    fn gather(&self, gathered: &mut Gathered, found: &Found<'_>) -> Result<(), TooMuch> {
        if found.raw.is_empty() {
            return Ok(());
        }
        self.work.charge(found.raw.len())?;
        self.work.allocate(found.raw.len())?;
        if !gathered.0.is_empty() {
            gathered.0.push(b',');
        }
        gathered.0.extend_from_slice(&found.raw);
        Ok(())
    }

    /// The value of an element for which the condition holds.
    ///
    /// The query looks into objects and arrays only; a plain element is compared itself if the query has no path. The
    /// rest of the path then leads on from the element and not from what was compared.
    fn query<'j, 'p>(
        &self,
        context: &mut Context<'j, 'p>,
        query: &Query<'p>,
        next: Next<'p>,
        element: &Found<'j>,
    ) -> Result<Option<Found<'j>>, TooMuch> {
        let asked = if element.kind == Kind::Nested {
            self.get_owned(&element.raw, query.path)?
        } else if query.path.is_empty() {
            element.clone()
        } else {
            return Ok(None);
        };
        self.work.charge(asked.raw.len() * query.value.len() / 64)?;
        if !holds(query, &asked) {
            return Ok(None);
        }
        let Next::Inside(mut rest) = next else {
            return Ok(Some(element.clone()));
        };
        if let Some((left, right)) = split_pipe(rest) {
            rest = left;
            context.pipe = Some(right);
        }
        self.get_owned(&element.raw, rest).map(Some)
    }

    /// `[a,b]` or `{a,b}`: a new text of the values at several paths, and the rest of the path after the selection.
    ///
    /// A path that leads nowhere is left out, so the array may have fewer elements than the selection has paths.
    fn select<'p>(&self, json: &[u8], path: &'p [u8]) -> Begun<'p> {
        let Some((selected, rest)) = selection(path) else {
            return Ok(None);
        };
        if !matches!(rest.first(), None | Some(b'|' | b'.')) {
            return Ok(None);
        }
        let named = path[0] == b'{';
        let mut text = vec![path[0]];
        for selected in &selected {
            let found = self.get(json, selected.path)?;
            if !found.exists() {
                continue;
            }
            self.work.charge(found.raw.len())?;
            self.work.allocate(found.raw.len())?;
            if text.len() > 1 {
                text.push(b',');
            }
            if named {
                name(&mut text, selected);
                text.push(b':');
            }
            if found.raw.is_empty() {
                text.extend_from_slice(b"null");
            }
            text.extend_from_slice(&found.raw);
        }
        text.push(if named { b'}' } else { b']' });
        Ok(Some((text, rest)))
    }
}

/// Writes the key of a selected value: its own name, or the last part of its path.
///
/// A name that is no JSON string is quoted. A path whose last part cannot be a key gets the name `_`.
fn name(out: &mut Vec<u8>, selected: &Selected<'_>) {
    let name = selected.name;
    if name.starts_with(b"\"") && modifiers::is_valid(name) {
        out.extend_from_slice(name);
    } else if !name.is_empty() {
        quote(out, name);
    } else {
        let last = last_name(selected.path);
        quote(out, if is_simple(last) { last } else { b"_" });
    }
}

/// The values that are gathered for an array, between commas.
#[derive(Default)]
struct Gathered(Vec<u8>);

impl Gathered {
    fn into_array(self) -> Found<'static> {
        let text = [&b"["[..], &self.0, b"]"].concat();
        Found::made(Kind::Nested, text)
    }
}

/// The value of an array when its end is reached.
fn finish<'p>(context: &mut Context<'_, 'p>, what: &What<'p>, count: usize, all: Gathered) -> bool {
    match what {
        What::Count => {
            context.value = Found::made(Kind::Number, count.to_string().into_bytes());
            true
        }
        What::Each(path) => {
            if let Some((_, pipe)) = split_pipe(path) {
                context.pipe = Some(pipe);
            }
            context.value = all.into_array();
            true
        }
        What::Query { all: true, .. } if !context.value.exists() => {
            context.value = all.into_array();
            false
        }
        _ => false,
    }
}

/// `!"text"`, `!5`, `!true`: a literal in the path, and the rest of the path after it.
///
/// It is a result like others: `{"a":!"x",b}` puts a constant into a selection.
fn literal(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = &path[1..];
    if matches!(
        name.first()?,
        b'{' | b'[' | b'"' | b'+' | b'-' | b'0'..=b'9'
    ) {
        return Some(name.split_at(nested_end(name, 0)));
    }
    let end = name.iter().position(|byte| matches!(byte, b'|' | b'.'));
    let (name, rest) = name.split_at(end.unwrap_or(name.len()));
    let known: [&[u8]; 5] = [b"true", b"false", b"null", b"nan", b"inf"];
    let lower = name.to_ascii_lowercase();
    known.contains(&lower.as_slice()).then_some((name, rest))
}

/// Whether the condition holds for the value that it compares.
///
/// The kind of the value decides how it is compared: texts by their bytes, numbers as floats, where a value that is
/// no number counts as 0, and booleans with the words `true` and `false` alone. `~true`, `~false`, `~null` and `~*`
/// compare what the value means and not what it is.
fn holds(query: &Query<'_>, asked: &Found<'_>) -> bool {
    let mut wanted = &*query.value;
    let truth;
    let mut asked = asked;
    if let [b'~', name @ ..] = wanted {
        let is_null = asked.kind == Kind::Null;
        let is_false = match asked.kind {
            Kind::Null | Kind::False => true,
            Kind::Number => asked.number() == 0.0,
            Kind::String => matches!(&*asked.text().to_ascii_lowercase(), b"0" | b"f" | b"false"),
            _ => false,
        };
        let answer = match name {
            b"*" => asked.exists(),
            b"null" => is_null,
            b"true" => asked.is_true(),
            b"false" => is_false,
            _ => return false,
        };
        wanted = b"true";
        truth = Found::new(if answer { Kind::True } else { Kind::False }, b"");
        asked = &truth;
    }
    if !asked.exists() {
        return false;
    }
    if query.operator.is_empty() {
        return true;
    }
    match asked.kind {
        Kind::String => {
            let text = asked.text();
            match query.operator {
                b"%" => wildcard::matches(&text, wanted),
                b"!%" => !wildcard::matches(&text, wanted),
                operator => compares(operator, Some((*text).cmp(wanted))),
            }
        }
        Kind::Number => {
            let order = asked.number().partial_cmp(&float(wanted));
            // A value that is no number differs from every number.
            (order.is_none() && query.operator == b"!=") || compares(query.operator, order)
        }
        Kind::True => match query.operator {
            b"=" => wanted == b"true",
            b"!=" => wanted != b"true",
            b">" => wanted == b"false",
            b">=" => true,
            _ => false,
        },
        Kind::False => match query.operator {
            b"=" => wanted == b"false",
            b"!=" => wanted != b"false",
            b"<" => wanted == b"true",
            b"<=" => true,
            _ => false,
        },
        Kind::Null | Kind::Nested => false,
    }
}

/// Whether an order satisfies an operator; without an order, none is satisfied.
fn compares(operator: &[u8], order: Option<std::cmp::Ordering>) -> bool {
    order.is_some_and(|order| match operator {
        b"=" => order.is_eq(),
        b"!=" => order.is_ne(),
        b"<" => order.is_lt(),
        b"<=" => order.is_le(),
        b">" => order.is_gt(),
        b">=" => order.is_ge(),
        _ => false,
    })
}

//! Evaluates CEL, as Flux's objects hold it: expressions of strangers, kept within bounds.
//!
//! The interpreter recurses as deep as an expression is nested, and knows no end of a loop. So an expression is short,
//! its tree is shallow, it has few loops, each turn of a loop counts, and all of it runs on a thread with a stack of its
//! own, where even a defect of the interpreter ends as an error.

pub(crate) mod health;

use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, Value};
use serde_json::Value as Json;

/// An expression has at most so many bytes,
const MAX_BYTES: usize = 2048;
/// is nested at most so deep,
const MAX_DEPTH: u32 = 128;
/// and has at most so many loops,
const MAX_LOOPS: u32 = 8;
/// which turn at most so often in all.
const MAX_TURNS: u32 = 100_000;
/// Operations that make texts and lists longer, each turn of a loop, add up to at most so much: a `+` counts one, and
/// those that may multiply count [`MULTIPLIER`].
const MAX_GROWTH: u32 = 9;
const MULTIPLIER: u32 = 8;
const MULTIPLIERS: [&str; 4] = ["replace", "join", "format", "encode"];
/// An evaluation may take so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes; the memory is taken as it is used.
const STACK: usize = 64 << 20;
/// What is said of an evaluation that goes wrong may quote values.
const MAX_MESSAGE: usize = 300;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    for added in [
        environment.add_extension(cel::extensions::strings),
        environment.add_extension(cel::extensions::encoders),
    ] {
        added.expect("the names of the extensions differ");
    }
    Arc::new(environment)
});

/// An expression that can be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Expression(Arc<IdedExpr>);

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("the expression is longer than {MAX_BYTES} bytes"));
        }
        let tree = on_own_stack(|| {
            let parser = ENVIRONMENT.parser().max_recursion_depth(32);
            let mut tree = parser.parse(text).map_err(|error| error.to_string())?;
            guard(&mut tree, 0, &mut Found::default()).map(|()| tree)
        })?;
        Ok(Self(Arc::new(tree)))
    }

    /// Whether it holds for these variables.
    ///
    /// # Errors
    /// A field that is missing, a result that is no boolean, or a bound that was passed.
    pub(crate) async fn holds(&self, variables: Vec<(String, Json)>) -> Result<bool, String> {
        let tree = self.0.clone();
        let task = tokio::task::spawn_blocking(move || evaluate(&tree, &variables));
        let ended = |_| Err("the evaluation ended early".to_owned());
        task.await.unwrap_or_else(ended)
    }
}

fn evaluate(tree: &IdedExpr, variables: &[(String, Json)]) -> Result<bool, String> {
    let (deadline, turns) = (Instant::now() + PATIENCE, AtomicU32::new(0));
    on_own_stack(|| {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, json) in variables {
            context.add_variable_from_value(name.as_str(), value(json));
        }
        let tick = move || -> Result<bool, ExecutionError> {
            let is_within = turns.fetch_add(1, Ordering::Relaxed) < MAX_TURNS;
            if is_within && Instant::now() < deadline {
                return Ok(true);
            }
            Err(ExecutionError::function_error(
                "loop",
                "the evaluation takes too long",
            ))
        };
        let added = context.add_function(TICK, tick);
        added.map_err(|error| error.to_string())?;
        match Value::resolve(tree, &context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("the result is a {}, not a bool", other.type_of())),
            Err(error) => Err(error.to_string().chars().take(MAX_MESSAGE).collect()),
        }
    })
}

fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("cel".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| error.to_string())?;
        let failed = |_| Err("the CEL interpreter failed on this expression".to_owned());
        thread.join().unwrap_or_else(failed)
    })
}

/// A function that no expression can name, called at each turn of a loop.
const TICK: &str = "@tick";

fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    node(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    }))
}

/// What an expression has of what is bounded.
#[derive(Default)]
struct Found {
    loops: u32,
    growth: u32,
}

/// Checks the bounds of a tree, and lets its loops tick.
fn guard(tree: &mut IdedExpr, depth: u32, found: &mut Found) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("the expression is nested too deeply".to_owned());
    }
    let depth = depth + 1;
    match &mut tree.expr {
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            if name == operators::ADD {
                found.growth += 1;
            } else if MULTIPLIERS.iter().any(|other| name.ends_with(other)) {
                found.growth += MULTIPLIER;
            }
            if found.growth > MAX_GROWTH {
                return Err(
                    "the expression has too many operations that make texts or lists longer"
                        .to_owned(),
                );
            }
            if let Some(target) = &mut call.target {
                guard(target, depth, found)?;
            }
            call.args
                .iter_mut()
                .try_for_each(|arg| guard(arg, depth, found))
        }
        Expr::Select(select) => guard(&mut select.operand, depth, found),
        Expr::List(list) => list
            .elements
            .iter_mut()
            .try_for_each(|element| guard(element, depth, found)),
        Expr::Map(map) => map
            .entries
            .iter_mut()
            .try_for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => {
                    guard(&mut entry.key, depth, found)?;
                    guard(&mut entry.value, depth, found)
                }
                EntryExpr::StructField(field) => guard(&mut field.value, depth, found),
            }),
        Expr::Struct(_) => Err("messages are not supported".to_owned()),
        Expr::Comprehension(turns) => {
            for part in [
                &mut turns.iter_range,
                &mut turns.accu_init,
                &mut turns.loop_cond,
                &mut turns.loop_step,
                &mut turns.result,
            ] {
                guard(part, depth, found)?;
            }
            found.loops += 1;
            if found.loops > MAX_LOOPS {
                return Err(format!("the expression has more than {MAX_LOOPS} loops"));
            }
            let tick = || call(TICK, Vec::new());
            if matches!(turns.loop_cond.expr, Expr::Literal(_)) {
                // `map`, `filter` and the like: the step keeps its shape, by which it appends in place.
                let step = mem::take(&mut turns.loop_step);
                turns.loop_step = match step.expr {
                    Expr::Call(mut step)
                        if step.func_name == operators::CONDITIONAL && step.args.len() == 3 =>
                    {
                        let condition = mem::take(&mut step.args[0]);
                        step.args[0] = call(operators::CONDITIONAL, vec![tick(), condition, no()]);
                        node(Expr::Call(step))
                    }
                    step => {
                        let as_before = node(Expr::Ident(turns.accu_var.clone()));
                        call(operators::CONDITIONAL, vec![tick(), node(step), as_before])
                    }
                };
            } else {
                // `all` and `exists`: their step decides how errors are taken, so that the condition ticks.
                let condition = mem::take(&mut turns.loop_cond);
                turns.loop_cond = call(operators::CONDITIONAL, vec![tick(), condition, no()]);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn no() -> IdedExpr {
    node(Expr::Literal(LiteralValue::Boolean(false.into())))
}

/// Whole numbers are signed, as in CEL's own reading of JSON: with unsigned ones, nothing could be taken from one.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(holds) => Value::Bool(*holds),
        Json::Number(number) => {
            let whole = number.as_i64().map(Value::Int);
            let whole = whole.or_else(|| number.as_u64().map(Value::UInt));
            whole.unwrap_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)))
        }
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(value).collect())),
        Json::Object(fields) => {
            #[expect(
                clippy::disallowed_types,
                reason = "the interpreter's own maps are such"
            )]
            let map: std::collections::HashMap<String, Value> = fields
                .iter()
                .map(|(key, field)| (key.clone(), value(field)))
                .collect();
            Value::from(map)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: Result<bool, &str>) {
        let object = json!({
            "metadata": {"generation": 2, "labels": {"a": "b"}},
            "spec": {"replicas": 3, "names": ["x", "y"]},
            "status": {"ready": 3, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let variables = object.as_object().unwrap().clone().into_iter();
        let result = Expression::parse(text)
            .and_then(|expression| evaluate(&expression.0, &variables.collect::<Vec<_>>()));
        match (result, expected) {
            (Ok(holds), Ok(expected)) => assert_eq!(holds, expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
            (result, expected) => panic!("{text}: {result:?}, not {expected:?}"),
        }
    }

    #[test]
    fn expressions_as_people_write_them() {
        check(
            "status.conditions.filter(c, c.type == 'Ready').all(c, c.status == 'True')",
            Ok(true),
        );
        check(
            "status.conditions.exists_one(c, c.type == 'Ready' && c.status == 'False')",
            Ok(false),
        );
        check("spec.replicas - 1 < status.ready", Ok(true));
        check("spec.replicas == 3.0", Ok(true));
        check("has(status.phase) && status.phase == 'Done'", Ok(false));
        check(
            "'a' in metadata.labels && metadata.labels['a'].startsWith('b')",
            Ok(true),
        );
        check("spec.names.map(n, n.upperAscii()) == ['X', 'Y']", Ok(true));
        check("status.phase == 'Done'", Err("No such key"));
        check("spec.replicas", Err("not a bool"));
        check("status.conditions.", Err(""));
    }

    #[test]
    fn expressions_of_strangers_end() {
        check(&"(".repeat(1000), Err(""));
        check(
            &format!("1{} == 1", "+1".repeat(900)),
            Err("make texts or lists longer"),
        );
        check(
            &format!("1{} == 1", "-1".repeat(900)),
            Err("nested too deeply"),
        );
        check(
            "'a'.replace('a', 'b').replace('b', 'c') == 'c'",
            Err("make texts or lists longer"),
        );
        check("'a'.replace('a', 'b') == 'b'", Ok(true));
        check(&format!("a{}", ".b".repeat(900)), Err("nested too deeply"));
        check(&"x".repeat(3000), Err("longer than 2048 bytes"));
        let numbers = format!("[{}]", vec!["1"; 90].join(","));
        let deep = format!("{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, a + b + c == 3)))");
        check(&deep, Err("takes too long"));
        let many = ["[1].all(a, true)"; 9].join(" && ");
        check(&many, Err("more than 8 loops"));
    }
}

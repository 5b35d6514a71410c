//! Evaluates CEL expressions of Flux's objects. Any tenant may write one, so each is kept within bounds.
//!
//! The interpreter recurses as deep as an expression is nested, and bounds no loop. So [`bounds`] checks the tree of an
//! expression and adds a counter to its loops, and everything runs on a thread with a stack of its own, where even a panic
//! of the interpreter becomes an error.

mod bounds;
pub(crate) mod health;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cel::common::ast::IdedExpr;
use cel::{Context, Env, ExecutionError, Value};
use serde_json::Value as Json;

use crate::expression::bounds::{MAX_LOOPS, TICK};

/// The longest expression, in bytes.
const MAX_BYTES: usize = 2048;
/// The turns of all loops of an evaluation together.
const MAX_TURNS: u32 = 100_000;
/// The longest evaluation.
const MAX_TIME: Duration = Duration::from_secs(1);
/// The stack of an evaluation, in bytes. The system gives the memory as it is used.
const STACK: usize = 64 << 20;
/// The longest message, in characters: the interpreter quotes values in its errors.
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

/// Why an expression cannot be read or evaluated. The texts are shown in conditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpressionError {
    #[error("the expression is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the expression is nested too deeply")]
    TooDeep,
    #[error("the expression has more than {MAX_LOOPS} loops")]
    TooManyLoops,
    #[error("the expression has too many operations that make texts or lists longer")]
    TooMuchGrowth,
    #[error("messages are not supported")]
    Message,
    #[error("the result is a {0}, not a bool")]
    NotBool(String),
    /// In the words of the parser or interpreter.
    #[error("{0}")]
    Interpreter(String),
    #[error("the CEL interpreter failed on this expression")]
    Panicked,
    #[error("no thread can be started: {0}")]
    Thread(String),
    #[error("the evaluation ended early")]
    Cancelled,
}

/// An expression that can be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Expression(Arc<IdedExpr>);

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is no CEL, or it is larger than the bounds allow.
    pub(crate) fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_BYTES {
            return Err(ExpressionError::TooLong);
        }
        let tree = on_own_stack(|| {
            let parser = ENVIRONMENT.parser().max_recursion_depth(32);
            let parsed = parser.parse(text);
            let mut tree =
                parsed.map_err(|error| ExpressionError::Interpreter(error.to_string()))?;
            bounds::check(&mut tree).map(|()| tree)
        })?;
        Ok(Self(Arc::new(tree)))
    }

    /// Evaluates the expression with these variables. The result must be a boolean.
    ///
    /// # Errors
    /// A field is missing, the result is no boolean, or the evaluation exceeds a bound.
    pub(crate) async fn holds(
        &self,
        variables: Vec<(String, Json)>,
    ) -> Result<bool, ExpressionError> {
        let tree = self.0.clone();
        let task = tokio::task::spawn_blocking(move || evaluate(&tree, &variables));
        task.await.unwrap_or(Err(ExpressionError::Cancelled))
    }
}

/// Evaluates a tree whose loops count their turns. Blocks for up to [`MAX_TIME`].
fn evaluate(tree: &IdedExpr, variables: &[(String, Json)]) -> Result<bool, ExpressionError> {
    let (deadline, turns) = (Instant::now() + MAX_TIME, AtomicU32::new(0));
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
        added.map_err(|error| ExpressionError::Interpreter(error.to_string()))?;
        match Value::resolve(tree, &context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ExpressionError::NotBool(other.type_of().to_string())),
            Err(error) => {
                let message = error.to_string().chars().take(MAX_MESSAGE).collect();
                Err(ExpressionError::Interpreter(message))
            }
        }
    })
}

/// Runs work on a thread with a large stack, and gives a panic of the interpreter as an error.
fn on_own_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ExpressionError> + Send,
) -> Result<T, ExpressionError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("cel".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| ExpressionError::Thread(error.to_string()))?;
        thread.join().unwrap_or(Err(ExpressionError::Panicked))
    })
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
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{text}: {error}");
            }
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
    fn expressions_beyond_the_bounds_are_refused() {
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

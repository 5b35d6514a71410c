//! Pure: bounds for the tree of a CEL expression, and a counter in each of its loops.

use std::mem;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

use crate::expression::ExpressionError;

/// The deepest nesting of a tree.
const MAX_DEPTH: u32 = 128;
/// The most loops of an expression.
pub(super) const MAX_LOOPS: u32 = 8;
/// Operations that make texts and lists longer add up to at most this much, since each turn of a loop may run them: a `+`
/// counts as one, an operation that may multiply as [`MULTIPLIER`].
const MAX_GROWTH: u32 = 9;
const MULTIPLIER: u32 = 8;
const MULTIPLIERS: [&str; 4] = ["replace", "join", "format", "encode"];

/// The function that the added code calls at each turn of a loop. No expression can write this name.
pub(super) const TICK: &str = "@tick";

/// Checks the bounds of a tree, and makes its loops call [`TICK`].
///
/// # Errors
/// The tree exceeds a bound.
pub(super) fn check(tree: &mut IdedExpr) -> Result<(), ExpressionError> {
    check_below(tree, 0, &mut Counts::default())
}

/// What has been counted of an expression so far.
#[derive(Default)]
struct Counts {
    loops: u32,
    growth: u32,
}

/// Checks a node and everything below it, and wraps the conditions of loops with the counter.
fn check_below(
    tree: &mut IdedExpr,
    depth: u32,
    counts: &mut Counts,
) -> Result<(), ExpressionError> {
    if depth > MAX_DEPTH {
        return Err(ExpressionError::TooDeep);
    }
    let depth = depth + 1;
    match &mut tree.expr {
        Expr::Call(call) => {
            counts.count_call(&call.func_name)?;
            let mut operands = call
                .target
                .iter_mut()
                .map(|target| &mut **target)
                .chain(&mut call.args);
            operands.try_for_each(|operand| check_below(operand, depth, counts))
        }
        Expr::Select(select) => check_below(&mut select.operand, depth, counts),
        Expr::List(list) => {
            let mut elements = list.elements.iter_mut();
            elements.try_for_each(|element| check_below(element, depth, counts))
        }
        Expr::Map(map) => {
            let mut entries = map.entries.iter_mut();
            entries.try_for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => {
                    check_below(&mut entry.key, depth, counts)?;
                    check_below(&mut entry.value, depth, counts)
                }
                EntryExpr::StructField(field) => check_below(&mut field.value, depth, counts),
            })
        }
        Expr::Struct(_) => Err(ExpressionError::Message),
        Expr::Comprehension(turns) => {
            for part in [
                &mut turns.iter_range,
                &mut turns.accu_init,
                &mut turns.loop_cond,
                &mut turns.loop_step,
                &mut turns.result,
            ] {
                check_below(part, depth, counts)?;
            }
            counts.count_loop()?;
            add_tick(turns);
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Counts {
    /// Counts an operation that makes texts or lists longer: such operations can be nested to double a value each time.
    fn count_call(&mut self, name: &str) -> Result<(), ExpressionError> {
        if name == operators::ADD {
            self.growth += 1;
        } else if MULTIPLIERS.iter().any(|other| name.ends_with(other)) {
            self.growth += MULTIPLIER;
        }
        if self.growth > MAX_GROWTH {
            return Err(ExpressionError::TooMuchGrowth);
        }
        Ok(())
    }

    /// Counts a loop.
    fn count_loop(&mut self) -> Result<(), ExpressionError> {
        self.loops += 1;
        if self.loops > MAX_LOOPS {
            return Err(ExpressionError::TooManyLoops);
        }
        Ok(())
    }
}

/// Makes each turn of a loop call [`TICK`].
fn add_tick(turns: &mut ComprehensionExpr) {
    let tick = || call(TICK, Vec::new());
    if !matches!(turns.loop_cond.expr, Expr::Literal(_)) {
        // `all` and `exists`: the step decides how errors are taken, so the condition calls it.
        let condition = mem::take(&mut turns.loop_cond);
        turns.loop_cond = call(operators::CONDITIONAL, vec![tick(), condition, no()]);
        return;
    }
    // `map`, `filter` and the like: the interpreter recognises the step by its shape and appends in place, so the shape
    // stays.
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
            let unchanged = node(Expr::Ident(turns.accu_var.clone()));
            call(operators::CONDITIONAL, vec![tick(), node(step), unchanged])
        }
    };
}

/// A node of our own. It has no place in the text of the user.
fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

/// A call of a function that the parser has not read.
fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    node(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    }))
}

/// The expression `false`.
fn no() -> IdedExpr {
    node(Expr::Literal(LiteralValue::Boolean(false.into())))
}

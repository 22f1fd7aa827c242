//! What must be known of an expression before it is evaluated, and the calls in it that are evaluated before all others.

use std::collections::BTreeMap;

use hcl::Value as Hcl;
use hcl::edit::Span as _;
use hcl::edit::expr::{Expression, ForExpr, FuncCall, Traversal, TraversalOperator};
use hcl::edit::template::ForDirective;
use hcl::edit::visit::{self, Visit};
use hcl::edit::visit_mut::{self, VisitMut};
use hcl::eval::{Context, ErrorKind, Evaluate as _};

use super::functions::MOST_NUMBERS;
use crate::import::packer::go::is_secret_name;
use crate::import::packer::times;
use crate::import::packer::uuid::uuid;

/// Functions that [`Early`] evaluates.
const EARLY: [&str; 9] = [
    "can",
    "env",
    "file",
    "fileexists",
    "fileset",
    "templatefile",
    "timestamp",
    "try",
    "uuidv4",
];

/// Evaluates calls of functions that need more than the values of their arguments, from the inside out: arguments that may
/// fail, files, the time.
pub(super) struct Early<'e> {
    pub(super) context: &'e Context<'static>,
    /// The time, where it and the environment are not actions.
    pub(super) now: Option<i64>,
    pub(super) env: &'e BTreeMap<String, String>,
    /// Whether a local of this name has a value that is not known.
    pub(super) is_unknown: &'e dyn Fn(&str) -> bool,
    /// Reads a file by a function.
    pub(super) read: &'e dyn Fn(&str, &[Hcl]) -> Option<Hcl>,
    /// Loops around: what depends on their variables cannot be evaluated yet.
    pub(super) open: usize,
}

impl Early<'_> {
    fn call(&self, call: &FuncCall) -> Option<Hcl> {
        let function = call.name.name.as_str();
        if self.open > 0 || !EARLY.contains(&function) {
            return None;
        }
        let args = call.args.iter().map(|arg| hcl::Expression::from(arg.clone()));
        let mut args = args.map(|arg| arg.evaluate(self.context));
        // What is not known here need not be a mistake for Packer.
        let is_mistake = |error: &hcl::eval::Error| match error.kind() {
            ErrorKind::NoSuchKey(name) => !(self.is_unknown)(name.as_str()),
            ErrorKind::UndefinedFunc(_) => false,
            _ => true,
        };
        match function {
            "try" => args
                .find(|arg| arg.as_ref().err().is_none_or(|error| !is_mistake(error)))?
                .ok(),
            "can" => match args.next()? {
                Err(error) if !is_mistake(&error) => None,
                arg => Some(arg.is_ok().into()),
            },
            "timestamp" => self.now.map(|now| times::time(now, times::RFC3339).0.into()),
            "env" => {
                let name = args.next()?.ok()?;
                let name = name
                    .as_str()
                    .filter(|name| self.now.is_some() && !is_secret_name(name))?;
                Some(self.env.get(name).map_or("", String::as_str).into())
            }
            "uuidv4" => self.now.map(|now| uuid(now.to_string().as_bytes(), 4).into()),
            _ => {
                let args = args.collect::<Result<Vec<_>, _>>().ok()?;
                (self.read)(function, &args)
            }
        }
    }
}

impl VisitMut for Early<'_> {
    fn visit_expr_mut(&mut self, node: &mut Expression) {
        visit_mut::visit_expr_mut(self, node);
        if let Expression::FuncCall(call) = node
            && let Some(value) = self.call(call)
        {
            *node = Expression::from(hcl::Expression::from(value));
        }
    }

    fn visit_for_expr_mut(&mut self, node: &mut ForExpr) {
        self.open += 1;
        visit_mut::visit_for_expr_mut(self, node);
        self.open -= 1;
    }

    fn visit_for_directive_mut(&mut self, node: &mut ForDirective) {
        self.open += 1;
        visit_mut::visit_for_directive_mut(self, node);
        self.open -= 1;
    }
}

/// What an expression has in it: loops within each other, functions of [`Early`], locals, variables.
#[derive(Default)]
pub(super) struct Loops {
    open: usize,
    pub(super) deepest: usize,
    /// Bytes of the longest collection that a loop goes over, as it is written.
    pub(super) longest: usize,
    /// Variables, and steps into what they hold.
    pub(super) names: usize,
    pub(super) early: bool,
    /// Names of locals.
    pub(super) locals: Vec<String>,
    /// Names of variables.
    pub(super) vars: Vec<String>,
}

impl Loops {
    fn within(&mut self, collection: &Expression, inner: impl FnOnce(&mut Self)) {
        self.longest = self.longest.max(collection.span().map_or(0, |span| span.len()));
        self.open += 1;
        self.deepest = self.deepest.max(self.open);
        inner(self);
        self.open -= 1;
    }
}

impl Visit for Loops {
    fn visit_for_expr(&mut self, node: &ForExpr) {
        let collection = &node.intro.collection_expr;
        self.within(collection, |loops| visit::visit_for_expr(loops, node));
    }

    fn visit_for_directive(&mut self, node: &ForDirective) {
        let collection = &node.for_expr.collection_expr;
        self.within(collection, |loops| visit::visit_for_directive(loops, node));
    }

    fn visit_func_call(&mut self, node: &FuncCall) {
        let name = node.name.name.as_str();
        self.early |= EARLY.contains(&name);
        if name == "range" {
            self.longest = self.longest.max(MOST_NUMBERS);
        }
        visit::visit_func_call(self, node);
    }

    fn visit_expr(&mut self, node: &Expression) {
        self.names += usize::from(matches!(node, Expression::Variable(_)));
        visit::visit_expr(self, node);
    }

    fn visit_traversal(&mut self, node: &Traversal) {
        self.names += node.operators.len();
        if let (Expression::Variable(root), Some(first)) = (&node.expr, node.operators.first())
            && let TraversalOperator::GetAttr(name) = first.value()
        {
            match root.as_str() {
                "local" => self.locals.push(name.as_str().to_owned()),
                "var" => self.vars.push(name.as_str().to_owned()),
                _ => {}
            }
        }
        visit::visit_traversal(self, node);
    }
}

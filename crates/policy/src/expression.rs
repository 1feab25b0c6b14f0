//! Expressions in CEL, compiled once and bounded before they ever run. Never sees more of a request than what its rule
//! names, and never answers where it cannot: an error is no answer.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use cel::{
    Context, Env, IdedExpr, Value,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
    objects::{Key, Map},
};

use crate::{
    condition::{Call, Match, Why},
    evidence::Unclear,
    json::{Extent, Json},
};

/// The longest expression, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The largest expression, in nodes after its macros are spelt out.
const NODES_MAX: usize = 500;

/// The deepest expression, in nodes.
const DEPTH_MAX: usize = 64;

/// The longest list that an expression goes through, in items.
const LOOP_ITEMS_MAX: usize = 1_000;

/// The most that a loop may read: items of the longest list by bytes of the longest text.
const LOOP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The stack that an expression is compiled on, in bytes; only what is used of it is ever there.
const STACK_BYTES: usize = 64 << 20;

/// What an expression may name.
const VARIABLES: [&str; 9] = [
    "agent", "body", "headers", "host", "method", "path", "query", "run", "user",
];

/// What an expression may call. `matches` is not there: its pattern would be compiled at every call.
const FUNCTIONS: [&str; 25] = [
    operators::ADD,
    operators::CONDITIONAL,
    operators::DIVIDE,
    operators::EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::IN,
    operators::INDEX,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::LOGICAL_AND,
    operators::LOGICAL_NOT,
    operators::LOGICAL_OR,
    operators::MODULO,
    operators::MULTIPLY,
    operators::NEGATE,
    operators::NOT_EQUALS,
    operators::NOT_STRICTLY_FALSE,
    operators::SUBSTRACT,
    "contains",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
];

/// Compiles expressions.
pub(crate) struct Language {
    env: Arc<Env>,
}

/// A compiled expression.
pub(crate) struct Expression {
    env: Arc<Env>,
    tree: IdedExpr,
    names: Vec<&'static str>,
    loops: bool,
}

/// What expressions see of one call, made when the first one asks.
#[derive(Default)]
pub(crate) struct Inputs {
    bare: OnceCell<Context<'static, 'static>>,
    with_body: OnceCell<Context<'static, 'static>>,
}

/// Why a text is no expression that a rule may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadExpression {
    #[error("an expression has 1 to {TEXT_BYTES_MAX} bytes")]
    TooLong,
    #[error("this is no CEL: {0}")]
    Syntax(String),
    #[error("an expression has at most {NODES_MAX} parts, {DEPTH_MAX} deep: make it several rules")]
    TooLarge,
    #[error("an expression goes through a list once, never through lists of lists")]
    LoopInLoop,
    #[error(
        "`{0}` is not known here: there are agent, body, headers, host, method, path, query, run and user"
    )]
    Unknown(String),
    #[error(
        "`{0}` cannot be called here: there are operators, has, all, exists, exists_one, map, filter, contains, \
         startsWith, endsWith, size, int and string"
    )]
    Function(String),
    #[error("`{0}` already means something here: give the items of the list another name")]
    Shadow(String),
    #[error("an expression of a rule makes no objects")]
    Object,
    #[error("an expression is true or false")]
    NotBool,
    #[error("it cannot be compiled now: {0}")]
    NoThread(String),
}

impl Language {
    pub(crate) fn new() -> Self {
        Self {
            env: Arc::new(Env::stdlib().with_optional_support(false)),
        }
    }

    /// The parser's depth is what the text says, so it runs on a stack that is large enough for any text of this length.
    pub(crate) fn compile(&self, text: &str) -> Result<Expression, BadExpression> {
        let compiled = thread::scope(|scope| {
            let apart = thread::Builder::new().stack_size(STACK_BYTES);
            let compiling = apart.spawn_scoped(scope, || self.compile_here(text));
            compiling.map(thread::ScopedJoinHandle::join)
        });
        match compiled {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(_)) => Err(BadExpression::Syntax("it cannot be read".to_owned())),
            Err(error) => Err(BadExpression::NoThread(error.to_string())),
        }
    }

    fn compile_here(&self, text: &str) -> Result<Expression, BadExpression> {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(BadExpression::TooLong);
        }
        let depth = u16::try_from(DEPTH_MAX).unwrap_or(u16::MAX);
        let parser = self.env.parser().max_recursion_depth(depth);
        let tree = parser.parse(text).map_err(|errors| {
            let first = errors.errors.first().map(|error| error.msg.clone());
            BadExpression::Syntax(first.unwrap_or_else(|| "it cannot be read".to_owned()))
        })?;
        if matches!(&tree.expr, Expr::Literal(value) if !matches!(value, LiteralValue::Boolean(_)))
        {
            return Err(BadExpression::NotBool);
        }
        let mut survey = Survey::default();
        survey.walk(&tree, 1)?;
        Ok(Expression {
            env: Arc::clone(&self.env),
            tree,
            names: survey.names,
            loops: survey.loops,
        })
    }
}

/// What is found on a walk through an expression.
#[derive(Default)]
struct Survey {
    nodes: usize,
    names: Vec<&'static str>,
    /// Names that the loop around gives.
    local: Vec<String>,
    in_loop: bool,
    loops: bool,
}

impl Survey {
    fn walk(&mut self, node: &IdedExpr, depth: usize) -> Result<(), BadExpression> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(BadExpression::TooLarge);
        }
        let depth = depth + 1;
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.walk(&select.operand, depth),
            Expr::List(list) => list
                .elements
                .iter()
                .try_for_each(|item| self.walk(item, depth)),
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(BadExpression::Function(call.func_name.clone()));
                }
                let mut parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.try_for_each(|part| self.walk(part, depth))
            }
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.walk(&entry.key, depth)?;
                    self.walk(&entry.value, depth)
                }
                EntryExpr::StructField(_) => Err(BadExpression::Object),
            }),
            Expr::Comprehension(looped) => {
                self.walk(&looped.iter_range, depth)?;
                if std::mem::replace(&mut self.in_loop, true) {
                    return Err(BadExpression::LoopInLoop);
                }
                self.loops = true;
                let names = [
                    Some(&looped.iter_var),
                    looped.iter_var2.as_ref(),
                    Some(&looped.accu_var),
                ];
                for name in names.into_iter().flatten() {
                    self.declare(name)?;
                }
                let parts = [
                    &looped.accu_init,
                    &looped.loop_cond,
                    &looped.loop_step,
                    &looped.result,
                ];
                parts
                    .into_iter()
                    .try_for_each(|part| self.walk(part, depth))?;
                self.local.clear();
                self.in_loop = false;
                Ok(())
            }
            Expr::Struct(_) | Expr::Unspecified => Err(BadExpression::Object),
        }
    }

    fn declare(&mut self, name: &str) -> Result<(), BadExpression> {
        if VARIABLES.contains(&name) {
            return Err(BadExpression::Shadow(name.to_owned()));
        }
        self.local.push(name.to_owned());
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), BadExpression> {
        if self.local.iter().any(|local| local == name) {
            return Ok(());
        }
        let Some(known) = VARIABLES.into_iter().find(|known| *known == name) else {
            return Err(BadExpression::Unknown(name.to_owned()));
        };
        if !self.names.contains(&known) {
            self.names.push(known);
        }
        Ok(())
    }
}

impl Expression {
    pub(crate) fn names(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// Whether the expression is true of a call.
    pub(crate) fn judge(&self, call: &Call<'_>) -> Match {
        if let Err(why) = self.check_inputs(call) {
            return Match::CannotTell(why);
        }
        let context = call.inputs.context(call, self);
        // The interpreter is not ours: should it ever panic, that is no answer either.
        let run = || context.resolve(&self.tree);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(Value::Bool(true))) => Match::Yes,
            Ok(Ok(Value::Bool(false))) => Match::No,
            _ => Match::CannotTell(Why::Expression),
        }
    }

    /// All that the expression names is there, can be read in one way only, and is not too much to go through.
    fn check_inputs(&self, call: &Call<'_>) -> Result<(), Why> {
        let mut extent = Extent {
            items: 0,
            bytes: call.unescaped.len(),
        };
        if self.names("run") && call.evidence.run.is_none() {
            return Err(Why::NoRun);
        }
        if self.names("user") && call.evidence.user.is_none() {
            return Err(Why::NoUser);
        }
        if self.names("query") {
            let all = call.parameters().all().map_err(Why::Query)?;
            extent = extent.max(widest(all.into_iter()));
        }
        if self.names("headers") {
            extent = extent.max(widest(headers(call).map_err(Why::Header)?.into_iter()));
        }
        if self.names("body") {
            extent = extent.max(call.body().map_err(Why::Body)?.extent());
        }
        let long = extent.items > LOOP_ITEMS_MAX
            || extent.items.saturating_mul(extent.bytes) > LOOP_BYTES_MAX;
        if self.loops && long {
            Err(Why::TooMuch)
        } else {
            Ok(())
        }
    }
}

impl Inputs {
    fn context(&self, call: &Call<'_>, asking: &Expression) -> &Context<'static, 'static> {
        if !asking.names("body") {
            return self.bare.get_or_init(|| bare(call, &asking.env));
        }
        self.with_body.get_or_init(|| {
            let mut context = bare(call, &asking.env);
            if let Ok(body) = call.body() {
                context.add_variable_from_value("body", value(body));
            }
            context
        })
    }
}

/// All that can be named but the body; what is not clear is left out, and whoever names it was refused before.
fn bare(call: &Call<'_>, env: &Arc<Env>) -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(env));
    let facts = call.facts;
    for (name, said) in [
        ("method", Some(facts.method.as_str())),
        ("path", Some(&*call.unescaped)),
        ("agent", Some(facts.agent.as_str())),
        ("run", call.evidence.run),
        ("user", call.evidence.user),
    ] {
        if let Some(said) = said {
            context.add_variable_from_value(name, text(said));
        }
    }
    context.add_variable_from_value("host", text(&facts.url.authority().host().to_string()));
    if let Ok(all) = call.parameters().all() {
        context.add_variable_from_value("query", texts(&all));
    }
    if let Ok(all) = headers(call) {
        context.add_variable_from_value("headers", texts(&all));
    }
    context
}

/// The header fields as text, each name once.
fn headers<'c>(call: &'c Call<'_>) -> Result<Vec<(&'c str, &'c str)>, Unclear> {
    let fields = call.evidence.headers.as_deref().ok_or(Unclear::Hidden)?;
    let mut names: Vec<_> = fields
        .iter()
        .map(|(name, _)| name.replace('_', "-"))
        .collect();
    names.sort_unstable();
    if names.windows(2).any(|two| two[0] == two[1]) {
        return Err(Unclear::Twice);
    }
    let field = |(name, value): &'c (Cow<'_, str>, &'c [u8])| {
        let value = std::str::from_utf8(value).map_err(|_| Unclear::Spelling)?;
        Ok((&**name, value))
    };
    fields.iter().map(field).collect()
}

fn widest<'c>(pairs: impl ExactSizeIterator<Item = (&'c str, &'c str)>) -> Extent {
    let items = pairs.len();
    let bytes = pairs.map(|(name, value)| name.len().max(value.len())).max();
    Extent {
        items,
        bytes: bytes.unwrap_or(0),
    }
}

fn text(said: &str) -> Value {
    Value::String(Arc::new(said.to_owned()))
}

fn key(said: &str) -> Key {
    Key::String(Arc::new(said.to_owned()))
}

fn texts(pairs: &[(&str, &str)]) -> Value {
    let pairs = pairs.iter().map(|(name, value)| (key(name), text(value)));
    object(pairs.collect())
}

fn object(map: HashMap<Key, Value>) -> Value {
    Value::Map(Map { map: Arc::new(map) })
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Int(number) => Value::Int(*number),
        Json::Uint(number) => Value::UInt(*number),
        Json::Float(number) => Value::Float(*number),
        Json::Text(said) => text(said),
        Json::List(items) => Value::List(Arc::new(items.iter().map(value).collect())),
        Json::Object(members) => {
            let members = members
                .iter()
                .map(|(name, member)| (key(name), value(member)));
            object(members.collect())
        }
    }
}

#[cfg(test)]
mod tests;

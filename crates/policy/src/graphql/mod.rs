//! What a GraphQL document asks for at its root: kind of operation and fields, fragments followed, aliases seen through.
//! Never executes, validates or repairs one, and never picks one of several operations.
//!
//! ```text
//! text ─▶ lexer ─▶ definitions: one operation, fragments ─▶ root fields, spread out ─▶ Asked
//! ```

mod lexer;

use std::collections::{HashMap, HashSet};

use postern_contract::config::Operation;

use lexer::{Lexer, Token};

/// The deepest selection, in braces.
const DEPTH_MAX: usize = 64;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    /// The operation's own name.
    pub(crate) name: Option<String>,
    /// Names of the fields at the root, never aliases.
    pub(crate) fields: Vec<String>,
}

/// Why a document asks for nothing certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Garbled {
    /// It breaks the grammar, or nests too deeply, or spreads a fragment that is not there.
    Malformed,
    /// It holds several operations.
    Several,
}

/// What stands in a selection.
#[derive(Debug)]
enum Selected<'t> {
    Field(&'t str),
    Spread(&'t str),
    Inline(Vec<Self>),
}

/// What a document holds.
#[derive(Debug, Default)]
struct Document<'t> {
    operation: Option<(Operation, Option<&'t str>, Vec<Selected<'t>>)>,
    fragments: HashMap<&'t str, Vec<Selected<'t>>>,
}

/// Reads a document.
pub(crate) fn read(text: &str) -> Result<Asked, Garbled> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        next: None,
    };
    let mut document = Document::default();
    while parser.peek()?.is_some() {
        parser.definition(&mut document)?;
    }
    let (operation, name, selected) = document.operation.take().ok_or(Garbled::Malformed)?;
    let mut fields = Vec::new();
    let mut open = vec![selected.as_slice()];
    let mut spread = HashSet::new();
    while let Some(selected) = open.pop() {
        for item in selected {
            match item {
                Selected::Field(name) => fields.push((*name).to_owned()),
                Selected::Inline(inner) => open.push(inner),
                Selected::Spread(name) if spread.insert(*name) => {
                    open.push(document.fragments.get(name).ok_or(Garbled::Malformed)?);
                }
                Selected::Spread(_) => {}
            }
        }
    }
    Ok(Asked {
        operation,
        name: name.map(str::to_owned),
        fields,
    })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    next: Option<Token<'t>>,
}

impl<'t> Parser<'t> {
    fn peek(&mut self) -> Result<Option<Token<'t>>, Garbled> {
        if self.next.is_none() {
            self.next = self.lexer.token()?;
        }
        Ok(self.next)
    }

    /// The next token; a document never ends where one is asked for.
    fn take(&mut self) -> Result<Token<'t>, Garbled> {
        let token = self.peek()?.ok_or(Garbled::Malformed)?;
        self.next = None;
        Ok(token)
    }

    fn expect(&mut self, mark: &str) -> Result<(), Garbled> {
        if self.take()? == Token::Mark(mark) {
            Ok(())
        } else {
            Err(Garbled::Malformed)
        }
    }

    fn name(&mut self) -> Result<&'t str, Garbled> {
        match self.take()? {
            Token::Name(name) => Ok(name),
            _ => Err(Garbled::Malformed),
        }
    }

    fn is_next(&mut self, mark: &str) -> Result<bool, Garbled> {
        Ok(self.peek()? == Some(Token::Mark(mark)))
    }

    fn definition(&mut self, document: &mut Document<'t>) -> Result<(), Garbled> {
        if self.is_next("{")? {
            let selected = self.selection(DEPTH_MAX)?;
            return document.add(Operation::Query, None, selected);
        }
        let operation = match self.name()? {
            "query" => Operation::Query,
            "mutation" => Operation::Mutation,
            "subscription" => Operation::Subscription,
            "fragment" => return self.fragment(document),
            _ => return Err(Garbled::Malformed),
        };
        let name = match self.peek()? {
            Some(Token::Name(_)) => Some(self.name()?),
            _ => None,
        };
        self.skip_arguments()?;
        self.skip_directives()?;
        let selected = self.selection(DEPTH_MAX)?;
        document.add(operation, name, selected)
    }

    fn fragment(&mut self, document: &mut Document<'t>) -> Result<(), Garbled> {
        let name = self.name()?;
        if name == "on" || self.name()? != "on" {
            return Err(Garbled::Malformed);
        }
        self.name()?;
        self.skip_directives()?;
        let selected = self.selection(DEPTH_MAX)?;
        match document.fragments.insert(name, selected) {
            None => Ok(()),
            Some(_) => Err(Garbled::Malformed),
        }
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Selected<'t>>, Garbled> {
        let depth = depth.checked_sub(1).ok_or(Garbled::Malformed)?;
        self.expect("{")?;
        let mut selected = Vec::new();
        while !self.is_next("}")? {
            selected.push(self.selected(depth)?);
        }
        self.expect("}")?;
        if selected.is_empty() {
            return Err(Garbled::Malformed);
        }
        Ok(selected)
    }

    fn selected(&mut self, depth: usize) -> Result<Selected<'t>, Garbled> {
        if self.is_next("...")? {
            self.expect("...")?;
            return self.spread(depth);
        }
        let mut name = self.name()?;
        if self.is_next(":")? {
            self.expect(":")?;
            name = self.name()?;
        }
        self.skip_arguments()?;
        self.skip_directives()?;
        if self.is_next("{")? {
            self.selection(depth)?;
        }
        Ok(Selected::Field(name))
    }

    fn spread(&mut self, depth: usize) -> Result<Selected<'t>, Garbled> {
        if let Some(Token::Name(name)) = self.peek()? {
            self.name()?;
            if name != "on" {
                self.skip_directives()?;
                return Ok(Selected::Spread(name));
            }
            self.name()?;
        }
        self.skip_directives()?;
        self.selection(depth).map(Selected::Inline)
    }

    fn skip_directives(&mut self) -> Result<(), Garbled> {
        while self.is_next("@")? {
            self.expect("@")?;
            self.name()?;
            self.skip_arguments()?;
        }
        Ok(())
    }

    /// Arguments and definitions of variables; what they say does not matter here, where they end does.
    fn skip_arguments(&mut self) -> Result<(), Garbled> {
        if !self.is_next("(")? {
            return Ok(());
        }
        let mut open = Vec::new();
        loop {
            match self.take()? {
                Token::Mark("(") => open.push(")"),
                Token::Mark("[") => open.push("]"),
                Token::Mark("{") => open.push("}"),
                Token::Mark(close @ (")" | "]" | "}")) if open.pop() != Some(close) => {
                    return Err(Garbled::Malformed);
                }
                _ => {}
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }
}

impl<'t> Document<'t> {
    fn add(
        &mut self,
        operation: Operation,
        name: Option<&'t str>,
        selected: Vec<Selected<'t>>,
    ) -> Result<(), Garbled> {
        match self.operation.replace((operation, name, selected)) {
            None => Ok(()),
            Some(_) => Err(Garbled::Several),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<(Operation, Vec<String>), Garbled> {
        let mut asked = read(text)?;
        asked.fields.sort();
        Ok((asked.operation, asked.fields))
    }

    #[test]
    fn root_fields_are_found_whatever_hides_them() {
        use Operation::{Mutation, Query, Subscription};
        for (text, operation, wanted) in [
            ("{ viewer { login } }", Query, &["viewer"][..]),
            (
                "\u{feff}query Q($a: [Int!] = [1] @d(x: \")\")) @x { a, b(x: {y: \"}\"}) c }",
                Query,
                &["a", "b", "c"],
            ),
            (
                "mutation { viewer: deleteRepo(id: 1) { ok } }",
                Mutation,
                &["deleteRepo"],
            ),
            (
                "mutation { ...F } fragment F on Mutation { x: pay ...G } fragment G on Mutation { wipe ...F }",
                Mutation,
                &["pay", "wipe"],
            ),
            (
                "mutation { ... on Mutation @include(if: true) { ... { pay } } }",
                Mutation,
                &["pay"],
            ),
            ("subscription S { added }", Subscription, &["added"]),
            ("{ a # } mutation { pay\n b }", Query, &["a", "b"]),
            (
                "{ a(x: \"\"\" \" } \\\"\"\" { \"\"\") b }",
                Query,
                &["a", "b"],
            ),
            ("query { a(x: \"\\\"} mutation { pay }\") }", Query, &["a"]),
            (
                "query query { on: fragment mutation }",
                Query,
                &["fragment", "mutation"],
            ),
        ] {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(fields(text), Ok((operation, wanted)), "{text}");
        }
        assert_eq!(
            read("query Mine { a }").unwrap().name.as_deref(),
            Some("Mine")
        );
    }

    #[test]
    fn what_is_uncertain_is_no_answer() {
        assert_eq!(
            fields("query A { a } mutation B { pay }"),
            Err(Garbled::Several)
        );
        assert_eq!(fields("{ a } { b }"), Err(Garbled::Several));
        for text in [
            "",
            "{",
            "{}",
            "{ a",
            "{ a }}",
            "a",
            "query",
            "type X { a: Int }",
            "{ ...F }",
            "{ a } fragment F { b }",
            "{ ...F } fragment F on X { a } fragment F on Y { b }",
            "{ a(x: [) }",
            "{ a(x: ]) }",
            "{ a(",
            "{ a \"x }",
            "{ a\u{e9} }",
            "{ a;b }",
            "\"what it is\" { a }",
            "{ a(x: \"\n\") }",
            "{ a .. b }",
            "fragment F on X { a }",
            "extend type Query { a: Int } { a }",
            "{ a(x: \"\"\" ) }",
        ] {
            assert_eq!(fields(text), Err(Garbled::Malformed), "{text}");
        }
        let deep = format!("{}{}", "{a".repeat(70), "}".repeat(70));
        assert_eq!(fields(&deep), Err(Garbled::Malformed));
        assert_eq!(fields(&"{a".repeat(100_000)), Err(Garbled::Malformed));
    }
}

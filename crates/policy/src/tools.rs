//! Which tool a URL belongs to, and which URL a tool's address in the sandbox stands for. Never dials, and never asks
//! who is calling.

use std::collections::{HashMap, HashSet};

use postern_contract::ToolName;

use crate::{
    authority::Authority,
    capability::Capability,
    host::Host,
    path::CanonicalPath,
    url::{BadUrl, CanonicalUrl},
};

/// All tools, by name and by place.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    all: Vec<Tool>,
    /// Positions in `all`.
    by_name: HashMap<ToolName, usize>,
    /// Positions in `all` of one authority's tools, longest base path first.
    by_authority: HashMap<Authority, Vec<usize>>,
    /// Where some tool lives, whatever its scheme.
    places: HashSet<(Host, u16)>,
}

/// One tool as the rulebook knows it.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: ToolName,
    /// Its URL as configured; a final slash is kept for calls to the tool itself.
    pub(crate) url: CanonicalUrl,
    pub(crate) tags: Vec<String>,
    /// Empty where every operation is permitted.
    pub(crate) capabilities: Vec<Capability>,
}

/// The tool that a URL belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    pub(crate) tool: &'a Tool,
}

/// Why a tool's address in the sandbox stands for no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoToolUrl {
    /// No tool has that name.
    #[error("there is no tool of that name")]
    NoSuchTool,
    /// The rest of the path or the query has no canonical form.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// The canonical form is not beneath the tool's base path.
    #[error("the path leads out of the tool `{0}`")]
    Outside(ToolName),
    /// The canonical form belongs to another tool.
    #[error("the path leads from the tool `{tool}` into the tool `{other}`: call that one")]
    Another {
        /// The tool that was asked for.
        tool: ToolName,
        /// The tool that the URL belongs to.
        other: ToolName,
    },
}

impl<'a> Route<'a> {
    /// The tool's name.
    #[must_use]
    pub fn tool(self) -> &'a ToolName {
        &self.tool.name
    }

    /// The tool's own URL.
    #[must_use]
    pub fn base(self) -> &'a CanonicalUrl {
        &self.tool.url
    }
}

impl Tools {
    /// Adds a tool, or names the one that already has the same URL space.
    pub(crate) fn add(&mut self, tool: Tool) -> Result<(), ToolName> {
        let authority = tool.url.authority();
        let neighbours = self.by_authority.entry(authority.clone()).or_default();
        let base_of = |at: &usize| self.all[*at].url.path().as_base();
        let base = tool.url.path().as_base();
        if let Some(other) = neighbours.iter().find(|at| base_of(at) == base) {
            return Err(self.all[*other].name.clone());
        }
        let at = neighbours.partition_point(|at| base_of(at).len() > base.len());
        neighbours.insert(at, self.all.len());
        self.places
            .insert((authority.host().clone(), authority.port()));
        self.by_name.insert(tool.name.clone(), self.all.len());
        self.all.push(tool);
        Ok(())
    }

    pub(crate) fn get(&self, name: &ToolName) -> Option<&Tool> {
        self.all.get(*self.by_name.get(name)?)
    }

    /// Whether any tool lives at this host and port; the scheme is not asked, for a tunnel has none.
    pub(crate) fn live_at(&self, authority: &Authority) -> bool {
        self.places
            .contains(&(authority.host().clone(), authority.port()))
    }

    pub(crate) fn route(&self, url: &CanonicalUrl) -> Option<Route<'_>> {
        self.by_authority
            .get(url.authority())?
            .iter()
            .filter_map(|at| self.all.get(*at))
            .find(|tool| tool.holds(url.path()))
            .map(|tool| Route { tool })
    }

    pub(crate) fn url(
        &self,
        name: &ToolName,
        rest: &str,
        query: Option<&str>,
    ) -> Result<CanonicalUrl, NoToolUrl> {
        let tool = self.get(name).ok_or(NoToolUrl::NoSuchTool)?;
        let url = tool.url_beneath(rest, query)?;
        if !tool.holds(url.path()) {
            return Err(NoToolUrl::Outside(name.clone()));
        }
        match self.route(&url) {
            Some(route) if route.tool() == name => Ok(url),
            Some(route) => Err(NoToolUrl::Another {
                tool: name.clone(),
                other: route.tool().clone(),
            }),
            None => Err(NoToolUrl::Outside(name.clone())),
        }
    }
}

impl Tool {
    /// Whether a path is the tool's base path or lies beneath it.
    fn holds(&self, path: &CanonicalPath) -> bool {
        self.beneath(path).is_some()
    }

    /// The part of a path beneath the tool's base: empty or beginning with `/`.
    pub(crate) fn beneath<'p>(&self, path: &'p CanonicalPath) -> Option<&'p str> {
        let rest = path.as_str().strip_prefix(self.url.path().as_base())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// The rest is joined as text and made canonical as a whole, so that what is judged is what is sent.
    fn url_beneath(&self, rest: &str, query: Option<&str>) -> Result<CanonicalUrl, BadUrl> {
        let query = query.map(str::parse).transpose()?;
        let path = match rest {
            "" => self.url.path().clone(),
            _ if !rest.starts_with('/') => return Err(crate::BadPath::NotAbsolute.into()),
            _ => format!("{}{rest}", self.url.path().as_base()).parse()?,
        };
        Ok(CanonicalUrl::new(self.url.authority().clone(), path, query))
    }
}

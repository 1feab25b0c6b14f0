//! Which tool a URL belongs to, and which URL a tool's address in the sandbox stands for. Never dials, and never asks
//! who is calling.

use std::collections::{HashMap, hash_map::Entry};

use postern_contract::{ToolName, config::Tls};

use crate::{
    authority::{Authority, Scheme},
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
    /// Where some tool lives, whatever its scheme: positions in `all` of the first one there.
    places: HashMap<(Host, u16), usize>,
}

/// Who lives at a place, and how one is spoken to there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Residence<'a> {
    /// No tool.
    Nobody,
    /// Tools whose requests are looked at one by one. Nothing is tunnelled there.
    LookedInto,
    /// One tool alone, whose connections nobody looks into: TLS that the gate does not end, or no HTTP at all.
    Opaque(&'a Tool),
}

/// One tool as the rulebook knows it.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: ToolName,
    /// Its URL as configured; a final slash is kept for calls to the tool itself.
    pub(crate) url: CanonicalUrl,
    pub(crate) tags: Vec<String>,
    pub(crate) tls: Tls,
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
    /// Adds a tool, or names the one that already has the same URL space, or with which it cannot share host and port.
    pub(crate) fn add(&mut self, tool: Tool) -> Result<(), ToolName> {
        let authority = tool.url.authority();
        let neighbours = self.by_authority.entry(authority.clone()).or_default();
        let base_of = |at: &usize| self.all[*at].url.path().as_base();
        let base = tool.url.path().as_base();
        if let Some(other) = neighbours.iter().find(|at| base_of(at) == base) {
            return Err(self.all[*other].name.clone());
        }
        let position = self.all.len();
        match self
            .places
            .entry((authority.host().clone(), authority.port()))
        {
            Entry::Occupied(first) => {
                let first = &self.all[*first.get()];
                if first.is_opaque() || tool.is_opaque() {
                    return Err(first.name.clone());
                }
            }
            Entry::Vacant(place) => drop(place.insert(position)),
        }
        let at = neighbours.partition_point(|at| base_of(at).len() > base.len());
        neighbours.insert(at, position);
        self.by_name.insert(tool.name.clone(), position);
        self.all.push(tool);
        Ok(())
    }

    pub(crate) fn get(&self, name: &ToolName) -> Option<&Tool> {
        self.all.get(*self.by_name.get(name)?)
    }

    /// Who lives at this host and port; the scheme is not asked, for a tunnel has none.
    pub(crate) fn residence(&self, authority: &Authority) -> Residence<'_> {
        let place = (authority.host().clone(), authority.port());
        match self.places.get(&place).and_then(|at| self.all.get(*at)) {
            None => Residence::Nobody,
            Some(tool) if tool.is_opaque() => Residence::Opaque(tool),
            Some(_) => Residence::LookedInto,
        }
    }

    /// Every tool whose connections nobody looks into.
    pub(crate) fn opaque(&self) -> impl Iterator<Item = &Tool> {
        self.all.iter().filter(|tool| tool.is_opaque())
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
    /// Whether it speaks no HTTP, so that host and port are all that there is to judge.
    pub(crate) fn is_raw(&self) -> bool {
        self.url.authority().scheme() == Scheme::Tcp
    }

    /// Whether nobody looks into a connection to it.
    pub(crate) fn is_opaque(&self) -> bool {
        self.tls == Tls::Tunnel || self.is_raw()
    }

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

//! `postern.toml` as the gate means it: every name resolved, every rule compiled, nothing optional that has a meaning.
//! Never reads a secret's value, and never looks into an agent's own part beyond what it was given.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use postern_contract::{
    AgentName, ModelName, SecretName, ToolName,
    config::{
        Approvals, Consent, Document, Egress, Granted, Problem, Protocol, ProxyCredential, Stage,
        Store, Tool, granted_to,
    },
};
use postern_daemon::config::{ConfigError, Loaded, Source};
use postern_policy::{Each, Rulebook};

use crate::{
    approve::Approvers,
    audit,
    book::{Book, Grants, Homes, Model, Patience, Target},
    dial::{Manner, Proxy, Speaks, World},
    inject::Credentials,
    mask::Masks,
    reload::{Files, Seen},
    sealed::Terms,
    secret::{self, Fetched, Held, Secrets, Taken},
};

mod approvers;
mod authorities;
mod callers;
mod checked;
mod consents;
mod logins;
mod manner;
mod models;
mod patience;
mod reach;
mod sealed;
mod stored;
mod terms;

use self::authorities::Authorities;
pub(crate) use self::{authorities::Known, callers::Issuer};
pub use self::{
    checked::{Checked, check},
    reach::{Doorway, doorway},
};

/// The file as the gate reads it.
type Written = Document<Granted, Credentials, secret::Source>;

/// A config that means something.
pub struct Config {
    /// Where this host's own daemons listen: never dialled for an agent.
    pub(crate) own: Vec<SocketAddr>,
    /// What becomes of the audit log.
    pub(crate) audit: audit::Settings,
    /// What is weaker than it could be, in words.
    weakened: Vec<String>,
    /// As [`Book::terms`].
    terms: String,
    egress: Egress,
    proxy: Option<Proxy>,
    rulebook: Rulebook,
    tools: BTreeMap<ToolName, Arc<Target>>,
    models: BTreeMap<ModelName, Arc<Model>>,
    homes: Homes,
    agents: BTreeMap<AgentName, Each<Grants>>,
    secrets: BTreeMap<SecretName, secret::Source>,
    /// Where the operator's own secrets lie.
    store: Option<Store>,
    taken: Taken,
    patience: Patience,
    approvals: Approvals,
    consent: Option<Consent>,
    /// Where callers' tokens can be checked, if the gate is to ask.
    issuer: Option<Issuer>,
    /// The values of secrets whose sources are asked.
    held: Held,
    source: Source,
    /// The authorities that tools and providers name.
    authorities: Known,
    /// The file as it was before it was read.
    seen: Files,
    /// The files of authorities, as they were before they were read.
    seen_authorities: Files,
}

impl Config {
    /// Reads a file and works out what it means.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line and column.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::read_watched(path).0
    }

    /// The same, and the files of authorities that it names, as they were before they were read: also of a config that is
    /// no good, since one of them may be why.
    pub(crate) fn read_watched(path: &Path) -> (Result<Self, ConfigError>, Files) {
        let seen = Files::look([path.to_owned()]);
        match postern_daemon::config::read::<Written>(path) {
            Err(broken) => (Err(broken), Files::default()),
            Ok(Loaded { document, source }) => {
                let named = Files::look(authorities::files(&document, source.directory()));
                let config = Self::of((document, source), named.clone(), &Known::new());
                (config.map(|config| Self { seen, ..config }), named)
            }
        }
    }

    /// Works out once more what a text means that was read before. A file of authorities that cannot be read any more says
    /// what it said before.
    pub(crate) fn of_source(source: Source, before: &Known) -> Result<Self, ConfigError> {
        let Loaded { document, source } = source.parse::<Written>()?;
        let named = Files::look(authorities::files(&document, source.directory()));
        Self::of((document, source), named, before)
    }

    fn of(
        (mut document, source): (Written, Source),
        seen_authorities: Files,
        before: &Known,
    ) -> Result<Self, ConfigError> {
        let terms = terms::digest(&document);
        let mut problems = contradictions(&document);
        let issuer = callers::issuer(&document, source.directory(), &mut problems);
        let mut authorities = Authorities::new(source.directory(), before);
        problems.extend(authorities.settle(&mut document));
        let models = models::of(&document, &mut authorities, &mut problems);
        let mut manners = manner::tools(&document, &mut authorities, &mut problems);
        let proxy = manner::proxy(&document, &mut problems);
        let patience = patience::patience(&document.patience, &mut problems);
        let rulebook = match Rulebook::compile(&document) {
            Ok(rulebook) if problems.is_empty() => rulebook,
            Ok(_) => return Err(source.errors(&problems)),
            Err(more) => {
                problems.extend(more);
                return Err(source.errors(&problems));
            }
        };
        let homes = reach::homes(&document);
        let agents = document.agents.iter();
        let agents = agents.map(|(name, agent)| {
            let each = Each::of(|stage| grants(&document, agent, stage));
            (name.clone(), each)
        });
        let agents = agents.collect();
        let mut tokens = sealed::terms(&document);
        let tools = document.tools.into_iter().map(|(name, tool)| {
            let manner = manners.remove(&name).unwrap_or_default();
            let tokens = tokens.remove(&name).unwrap_or_default();
            (name, Arc::new(target(tool, manner, tokens)))
        });
        let tools = tools.collect();
        let mut own = vec![document.listen.api, document.listen.operator];
        own.extend(document.consent.as_ref().map(|consent| consent.listen));
        let audit = audit_settings(document.audit, &source);
        Ok(Self {
            own,
            audit,
            terms,
            weakened: manner::weakened(proxy.as_ref()),
            egress: document.egress,
            proxy,
            rulebook,
            tools,
            models,
            homes,
            agents,
            secrets: document.secrets,
            store: document.store,
            taken: Taken::default(),
            held: Held::default(),
            patience,
            approvals: document.approvals,
            consent: document.consent,
            issuer,
            authorities: authorities.known,
            source,
            seen: Files::default(),
            seen_authorities,
        })
    }

    /// What is settled about the world before anybody calls.
    pub(crate) fn world(&self) -> World {
        World {
            own: self.own.clone(),
            resolvers: self.egress.resolvers.clone(),
        }
    }

    /// Where the gate listens for end users' browsers.
    pub(crate) fn consent(&self) -> Option<&Consent> {
        self.consent.as_ref()
    }

    /// Whom the gate asks for the public keys of callers' tokens.
    pub(crate) fn issuer(&self) -> Option<&Issuer> {
        self.issuer.as_ref()
    }

    /// The text it was made from.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What is settled at the start: by its key in the file, in a form that can be compared.
    pub(crate) fn settled(&self) -> Vec<(&'static str, String)> {
        let keys = ["listen.api", "listen.operator"].into_iter();
        let listening = keys.zip(self.own.iter().map(ToString::to_string));
        let resolvers = ("egress.resolvers", format!("{:?}", self.egress.resolvers));
        let audit = ("audit", format!("{:?}", self.audit));
        let consent = ("consent", format!("{:?}", self.consent));
        let issuer = ("callers.jwt.jwks_url", format!("{:?}", self.issuer));
        listening
            .chain([resolvers, audit, consent, issuer])
            .collect()
    }

    /// The files that the secrets are in, as they are now.
    pub(crate) fn look_at_secrets(&self) -> Files {
        Files::look(secret::files(&self.secrets, self.base()))
    }

    /// The sources of secrets, of which some are asked in the background.
    pub(crate) fn sources(&self) -> &BTreeMap<SecretName, secret::Source> {
        &self.secrets
    }

    /// The proxy of the operator's network as it is before anybody is asked for a secret: with its password, if that is at hand.
    pub(crate) fn way(&self) -> Option<Proxy> {
        let credential = self.egress.credential.as_ref();
        let password = credential.map(ProxyCredential::secret);
        let sources = self.secrets.iter();
        let sources = sources.filter(|(name, _)| Some(*name) == password);
        let sources = sources
            .map(|(name, source)| (name.clone(), source.clone()))
            .collect();
        let (with_lines, held) = (BTreeSet::new(), Held::default());
        let (secrets, _) = Secrets::load(&sources, self.base(), &with_lines, &held);
        manner::with_password(self.proxy.clone(), &self.egress, &secrets)
    }

    /// The same, with the secrets that it names taken out of the process's environment. To be called before there are threads.
    #[must_use]
    pub(crate) fn taking_variables(mut self) -> Self {
        self.taken = secret::take_variables(&self.secrets);
        self
    }

    /// The same, with what was taken when the gate started.
    #[must_use]
    pub(crate) fn having(mut self, taken: Taken) -> Self {
        self.taken = taken;
        self
    }

    /// What was taken out of the process's environment.
    pub(crate) fn taken(&self) -> &Taken {
        &self.taken
    }

    /// The same with the values that were asked for.
    #[must_use]
    pub(crate) fn holding(mut self, fetched: &Fetched) -> Self {
        self.held = fetched.held();
        self
    }

    /// The authorities that tools and providers name.
    pub(crate) fn authorities(&self) -> &Known {
        &self.authorities
    }

    /// The files of authorities, as they were before they were read.
    pub(crate) fn seen_authorities(&self) -> &Files {
        &self.seen_authorities
    }

    /// All files of this config: what it was made of as that was before it was read, the secrets' as they are now.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            config: self.seen.clone(),
            authorities: self.seen_authorities.clone(),
            secrets: self.look_at_secrets(),
            fetched: 0,
        }
    }

    /// What is known of every tool and provider.
    fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        let endpoints = self
            .models
            .values()
            .filter_map(|model| model.endpoint.as_ref());
        endpoints
            .map(|endpoint| &endpoint.target)
            .chain(self.tools.values())
    }

    /// The secrets whose values may have several lines.
    pub(crate) fn with_lines(&self) -> BTreeSet<SecretName> {
        let credentials = self
            .targets()
            .filter_map(|target| target.credential.as_ref());
        credentials
            .flat_map(Credentials::with_lines)
            .cloned()
            .collect()
    }

    /// The book of this config, with its secrets loaded.
    ///
    /// # Errors
    /// Every secret that cannot be had, with its place in the file.
    pub(crate) fn into_book(self, generation: u64) -> Result<Book, ConfigError> {
        match self.into_book_without(generation, None) {
            (book, None) => Ok(book),
            (_, Some(missing)) => Err(missing),
        }
    }

    /// The book of this config without the secrets that cannot be had, and which these are. A call that needs one of them
    /// is refused. A secret that is what it was `before` keeps its generation.
    pub(crate) fn into_book_without(
        self,
        generation: u64,
        before: Option<&Secrets>,
    ) -> (Book, Option<ConfigError>) {
        let with_lines = self.with_lines();
        let loaded = Secrets::load(&self.secrets, self.base(), &with_lines, &self.held);
        let (secrets, problems) = loaded;
        let secrets = secrets.for_generation(generation, before);
        let missing = (!problems.is_empty()).then(|| self.source.errors(&problems));
        let masks = Masks::of(self.targets(), &secrets);
        let proxy = manner::with_password(self.proxy, &self.egress, &secrets);
        let book = Book {
            generation,
            masks,
            approvers: Approvers::new(&self.approvals, &secrets),
            proxy,
            weakened: self.weakened,
            terms: self.terms,
            rulebook: self.rulebook,
            tools: self.tools,
            models: self.models,
            homes: self.homes,
            agents: self.agents,
            secrets,
            patience: self.patience,
        };
        (book, missing)
    }
}

fn audit_settings(written: postern_contract::config::Audit, source: &Source) -> audit::Settings {
    audit::Settings {
        heads: written.heads.map(|path| source.directory().join(path)),
        rotate: written.rotate.0,
        keep: written.keep.map(|keep| keep.0),
        delete_unexported: written.delete_unexported,
        per_sandbox: written.per_sandbox.0,
    }
}

fn target(tool: Tool<Credentials>, manner: Manner, tokens: Terms) -> Target {
    Target {
        credential: tool.credential,
        private: tool.private,
        speaks: match tool.protocol {
            // What is no HTTP is never spoken to in any version of it.
            Protocol::Http | Protocol::Tcp | Protocol::Postgres | Protocol::Redis => Speaks::Either,
            Protocol::Grpc => Speaks::Http2,
        },
        forward_identity: tool.forward_identity,
        answers: tool.answers,
        on_rotation: tool.on_rotation,
        tokens,
        manner,
    }
}

fn grants(document: &Written, agent: &Granted, stage: Option<Stage>) -> Grants {
    let granted = granted_to(agent, stage);
    let mut named = reach::named(&document.policies, &granted.policies);
    if stage == Some(Stage::Setup) {
        let opaque = reach::opaque(document);
        named.retain(|place| !opaque.contains(place));
    }
    Grants {
        has_policy: !granted.policies.is_empty(),
        named,
        ports: document.captured_ports(&granted),
        tools: granted.tools,
        models: granted.models,
    }
}

/// What of the document does not go together, as far as the document alone tells.
fn contradictions(document: &Written) -> Vec<Problem> {
    let finders = [
        credentials_without_secret,
        reach::tunnels_to_providers,
        logins::problems,
        approvers::problems,
        consents::problems,
        sealed::problems,
        stored::problems,
    ];
    finders.iter().flat_map(|find| find(document)).collect()
}

fn credentials_without_secret(document: &Written) -> Vec<Problem> {
    let tools = document
        .tools
        .iter()
        .map(|(name, tool)| ("tools", name.as_str(), &tool.credential));
    let providers = document
        .providers
        .iter()
        .map(|(name, provider)| ("providers", name.as_str(), &provider.credential));
    let faults = tools
        .chain(providers)
        .filter_map(|(table, name, credential)| {
            let mut secrets = credential.as_ref()?.secrets();
            let secret = secrets.find(|secret| !document.secrets.contains_key(*secret))?;
            let words = format!("there is no secret `{secret}`: define it as `[secrets.{secret}]`");
            Some(Problem::at([table, name, "credential", "secret"], words))
        });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use postern_llm::{Act, Api};

    use super::*;

    const GOOD: &str = r#"
[secrets.stripe]
file = "stripe.key"

[tools.stripe]
url = "https://api.stripe.com"
credential = { kind = "bearer", secret = "stripe" }

[providers.play]
format = "playground"

[providers.openai]
format = "openai"
url = "https://api.openai.com/v1/"
credential = { kind = "header", name = "X-Key", secret = "stripe", prefix = "Token " }

[providers.anthropic]
format = "anthropic"
url = "https://api.anthropic.com"
credential = { kind = "header", name = "x-api-key", secret = "stripe" }

[models.fast]
provider = "openai"
upstream = "gpt-4o-mini"
allow = ["web_search"]

[models.claude]
provider = "anthropic"
upstream = "claude-sonnet-4-5"

[models.toy]
provider = "play"
upstream = "toy"

[[policies.support.rules]]
name = "read charges"
permission = "allow"
resource = "https://api.stripe.com/v1/*"
operations = ["GET"]

[agents.desk]
kind = "python"
anything = { of = "posternd" }
tools = ["stripe"]
models = ["fast"]
policies = ["support"]
"#;

    fn read(text: &str) -> Result<Config, String> {
        let loaded = Source::of_text("postern.toml", text).parse::<Written>();
        let Loaded { document, source } = loaded.map_err(|error| error.to_string())?;
        let config = Config::of((document, source), Files::default(), &Known::new());
        config.map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(from: &str, to: &str, wanted: &str) {
        assert!(GOOD.contains(from));
        let error = read(&GOOD.replace(from, to)).err().expect(wanted);
        assert!(error.starts_with("postern.toml:"), "{error}");
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn what_is_written_becomes_what_is_meant() {
        let config = read(GOOD).unwrap();
        let fast = &config.models[&"fast".parse::<ModelName>().unwrap()];
        let endpoint = fast.endpoint.as_ref().unwrap();
        assert_eq!(
            endpoint.urls[&Api::Chat].to_string(),
            "https://api.openai.com/v1/chat/completions"
        );
        assert_eq!(fast.allow, [Act::WebSearch]);
        assert!(endpoint.target.credential.is_some());
        let claude = &config.models[&"claude".parse::<ModelName>().unwrap()];
        assert_eq!(
            claude.endpoint.as_ref().unwrap().urls[&Api::CountTokens].to_string(),
            "https://api.anthropic.com/v1/messages/count_tokens"
        );
        assert!(
            config.models[&"toy".parse::<ModelName>().unwrap()]
                .endpoint
                .is_none()
        );
        assert_eq!(config.own.len(), 2);
    }

    #[test]
    fn every_mistake_has_a_place() {
        let impatient = "[patience]\nsilence = \"0s\"\n\n[secrets.stripe]";
        refused("[secrets.stripe]", impatient, "longer than nothing");
        refused(
            r#"secret = "stripe" }"#,
            r#"secret = "strip" }"#,
            "no secret `strip`",
        );
        refused(
            r#"format = "openai""#,
            r#"format = "opnai""#,
            "known are `openai`",
        );
        refused(
            r#"kind = "bearer""#,
            r#"kind = "baerer""#,
            "did you mean `bearer`?",
        );
        refused(
            r#"file = "stripe.key""#,
            r#"fle = "stripe.key""#,
            "did you mean `file`?",
        );
        refused(r#"name = "X-Key""#, r#"name = "Host""#, "no header field");
        refused(
            r#"provider = "play""#,
            r#"provider = "ply""#,
            "no provider `ply`",
        );
        let double = r#"url = "https://api.anthropic.com/v1""#;
        refused(
            r#"url = "https://api.anthropic.com""#,
            double,
            "leave out the `/v1`",
        );
        refused(
            r#"["web_search"]"#,
            r#"["websearch"]"#,
            "known are `web_search`",
        );
        refused(r#"["web_search"]"#, r#"["state_ids"]"#, "cannot be allowed");
        let with_url = "format = \"playground\"\nurl = \"http://a.b\"";
        refused(r#"format = "playground""#, with_url, "leave it out");
    }
}

//! Whose servers the models are at: LiteLLM's prefixes, and the provider that each comes to here.

use url::Url;

use super::limits::ModelLimits;
use crate::domain::ProviderKind;

/// A prefix of LiteLLM that leads to a server which Tollgate can call.
pub(super) struct Known {
    /// LiteLLM's words for it; the first is the name here.
    prefixes: &'static [&'static str],
    kind: ProviderKind,
    /// Where it is when nothing is said; empty where something has to be.
    base_url: &'static str,
    /// The variable that its key is looked for in when nothing is said; empty where it needs none.
    key: &'static str,
}

const COMPATIBLE: ProviderKind = ProviderKind::OpenAiCompatible;

/// Addresses and variables as these companies and LiteLLM publish them.
#[rustfmt::skip]
const KNOWN: &[Known] = &[
    Known { prefixes: &["openai", "text-completion-openai"], kind: ProviderKind::OpenAi, base_url: "", key: "OPENAI_API_KEY" },
    Known { prefixes: &["anthropic", "anthropic_text"], kind: ProviderKind::Anthropic, base_url: "", key: "ANTHROPIC_API_KEY" },
    Known { prefixes: &["azure", "azure_text"], kind: COMPATIBLE, base_url: "", key: "AZURE_API_KEY" },
    Known { prefixes: &["gemini"], kind: COMPATIBLE, base_url: "https://generativelanguage.googleapis.com/v1beta/openai", key: "GEMINI_API_KEY" },
    Known { prefixes: &["groq"], kind: COMPATIBLE, base_url: "https://api.groq.com/openai/v1", key: "GROQ_API_KEY" },
    Known { prefixes: &["mistral"], kind: COMPATIBLE, base_url: "https://api.mistral.ai/v1", key: "MISTRAL_API_KEY" },
    Known { prefixes: &["deepseek"], kind: COMPATIBLE, base_url: "https://api.deepseek.com/v1", key: "DEEPSEEK_API_KEY" },
    Known { prefixes: &["openrouter"], kind: COMPATIBLE, base_url: "https://openrouter.ai/api/v1", key: "OPENROUTER_API_KEY" },
    Known { prefixes: &["together_ai"], kind: COMPATIBLE, base_url: "https://api.together.xyz/v1", key: "TOGETHERAI_API_KEY" },
    Known { prefixes: &["fireworks_ai"], kind: COMPATIBLE, base_url: "https://api.fireworks.ai/inference/v1", key: "FIREWORKS_API_KEY" },
    Known { prefixes: &["perplexity"], kind: COMPATIBLE, base_url: "https://api.perplexity.ai", key: "PERPLEXITYAI_API_KEY" },
    Known { prefixes: &["xai"], kind: COMPATIBLE, base_url: "https://api.x.ai/v1", key: "XAI_API_KEY" },
    Known { prefixes: &["cerebras"], kind: COMPATIBLE, base_url: "https://api.cerebras.ai/v1", key: "CEREBRAS_API_KEY" },
    Known { prefixes: &["deepinfra"], kind: COMPATIBLE, base_url: "https://api.deepinfra.com/v1/openai", key: "DEEPINFRA_API_KEY" },
    Known { prefixes: &["nvidia_nim"], kind: COMPATIBLE, base_url: "https://integrate.api.nvidia.com/v1", key: "NVIDIA_NIM_API_KEY" },
    Known { prefixes: &["sambanova"], kind: COMPATIBLE, base_url: "https://api.sambanova.ai/v1", key: "SAMBANOVA_API_KEY" },
    Known { prefixes: &["ollama", "ollama_chat"], kind: COMPATIBLE, base_url: "http://localhost:11434/v1", key: "" },
    Known { prefixes: &["vllm", "hosted_vllm"], kind: COMPATIBLE, base_url: "", key: "" },
    Known { prefixes: &["lm_studio"], kind: COMPATIBLE, base_url: "", key: "" },
    Known { prefixes: &["llamafile"], kind: COMPATIBLE, base_url: "http://127.0.0.1:8080/v1", key: "" },
    Known { prefixes: &["xinference"], kind: COMPATIBLE, base_url: "", key: "" },
    Known { prefixes: &["openai_like", "custom_openai"], kind: COMPATIBLE, base_url: "", key: "" },
    Known { prefixes: &["litellm_proxy"], kind: COMPATIBLE, base_url: "", key: "LITELLM_PROXY_API_KEY" },
];

/// What people write where a server wants a key but looks at none.
const PLACEHOLDERS: [&str; 12] = [
    "none",
    "null",
    "na",
    "n/a",
    "empty",
    "dummy",
    "fake",
    "fake-key",
    "not-needed",
    "no-key",
    "sk-no-key-required",
    "anything",
];

impl Known {
    /// What a prefix leads to.
    pub(super) fn find(prefix: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.prefixes.contains(&prefix))
    }

    fn name(&self) -> &'static str {
        self.prefixes[0]
    }

    /// Whether this is Azure, whose models are deployments with names of their own.
    pub(super) fn is_azure(&self) -> bool {
        self.name() == "azure"
    }
}

/// One provider of the written file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) kind: ProviderKind,
    pub(super) base_url: Option<String>,
    /// The variable that holds its key.
    pub(super) key: Option<String>,
    /// Whose prices it has, where its name doesn't say so.
    pub(super) catalog: Option<String>,
    /// What its models say, of which its own limits come.
    pub(super) models: Vec<ModelLimits>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) stream_timeout_ms: Option<u64>,
    pub(super) concurrent_requests: Option<u32>,
    /// What identifies it: two deployments with the same are at one provider.
    identity: Identity,
}

/// The parts of a deployment that make a provider of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    name: &'static str,
    base_url: Option<String>,
    key: KeySource,
}

/// Where a deployment's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    /// The file says nothing: the provider's usual variable.
    Usual,
    /// A variable.
    Variable(String),
    /// The file itself holds it. Only told apart from others, and never written.
    Literal(String),
}

impl KeySource {
    /// Reads `os.environ/NAME` or a key.
    pub(super) fn of(text: &str) -> Self {
        match variable_of(text) {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Literal(text.to_owned()),
        }
    }

    fn is_placeholder(&self) -> bool {
        matches!(self, Self::Literal(text) if PLACEHOLDERS.contains(&text.to_ascii_lowercase().as_str()))
    }
}

/// The name in `os.environ/NAME`.
pub(super) fn variable_of(text: &str) -> Option<&str> {
    let name = text.strip_prefix("os.environ/")?;
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

/// Why a deployment has no provider here.
pub(super) enum NoProvider {
    /// The address is missing.
    NoAddress,
    /// The address is none, or holds a password.
    WrongAddress,
}

/// All providers, in the order in which they were met.
#[derive(Default)]
pub(super) struct Providers(Vec<Provider>);

impl Providers {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Provider> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Provider> {
        self.0.iter_mut()
    }

    pub(super) fn get(&self, index: usize) -> &Provider {
        &self.0[index]
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut Provider {
        &mut self.0[index]
    }

    /// The provider of a deployment, made where it is the first there; and whether its key stands in the file as it is.
    pub(super) fn place(
        &mut self,
        known: &'static Known,
        api_base: Option<&str>,
        key: KeySource,
        wished_name: Option<&str>,
    ) -> Result<(usize, bool), NoProvider> {
        let base_url = address(known, api_base)?;
        // The company's own address says nothing; any other server of its shapes is one that is compatible.
        let (kind, base_url) = match (known.kind, base_url) {
            (ProviderKind::OpenAi, Some(url)) if is_of(&url, "openai.com") => {
                (ProviderKind::OpenAi, own_address(&url, "https://api.openai.com/v1"))
            }
            (ProviderKind::OpenAi, Some(url)) => (COMPATIBLE, Some(url)),
            (ProviderKind::Anthropic, Some(url)) => {
                (ProviderKind::Anthropic, own_address(&url, "https://api.anthropic.com"))
            }
            (kind, url) => (kind, url),
        };
        let key = if kind == COMPATIBLE && key.is_placeholder() { KeySource::Usual } else { key };
        // A server of one's own that says nothing about a key needs none; the company's variable is not for it.
        let usual = if kind == known.kind { known.key } else { "" };
        let key = match key {
            KeySource::Usual if !usual.is_empty() => KeySource::Variable(usual.to_owned()),
            key => key,
        };
        let is_literal = matches!(key, KeySource::Literal(_));
        let identity = Identity { name: known.name(), base_url: base_url.clone(), key: key.clone() };
        if let Some(index) = self.0.iter().position(|provider| provider.identity == identity) {
            return Ok((index, is_literal));
        }
        let plain = if kind == known.kind { known.name().to_owned() } else { own_name(base_url.as_deref()) };
        let name = self.free_name(wished_name.unwrap_or(&plain));
        let key = match key {
            KeySource::Usual => None,
            KeySource::Variable(variable) => Some(variable),
            KeySource::Literal(_) => Some(self.free_variable(&name)),
        };
        let has_prices_by_kind = kind != COMPATIBLE;
        let catalog =
            (!has_prices_by_kind && name != known.name() && kind == known.kind).then(|| known.name().to_owned());
        self.0.push(Provider {
            name,
            kind,
            base_url,
            key,
            catalog,
            models: Vec::new(),
            timeout_ms: None,
            stream_timeout_ms: None,
            concurrent_requests: None,
            identity,
        });
        Ok((self.0.len() - 1, is_literal))
    }

    fn free_name(&self, wished: &str) -> String {
        let is_free = |name: &str| self.0.iter().all(|provider| provider.name != name);
        let numbered = (2..).map(|number| format!("{wished}-{number}"));
        std::iter::once(wished.to_owned()).chain(numbered).find(|name| is_free(name)).unwrap_or_default()
    }

    /// A variable for a key that stood in the file; another provider's is never taken.
    fn free_variable(&self, name: &str) -> String {
        let word: String = name
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' })
            .collect();
        let word =
            if word.starts_with(|first: char| first.is_ascii_digit()) { format!("PROVIDER_{word}") } else { word };
        let is_free = |variable: &str| self.0.iter().all(|provider| provider.key.as_deref() != Some(variable));
        let numbered = (2..).map(|number| format!("{word}_{number}_API_KEY"));
        std::iter::once(format!("{word}_API_KEY")).chain(numbered).find(|name| is_free(name)).unwrap_or_default()
    }
}

/// The address as it is written here; nothing where the kind's own is meant.
fn address(known: &Known, api_base: Option<&str>) -> Result<Option<String>, NoProvider> {
    let Some(text) = api_base else {
        return match (known.kind, known.base_url) {
            (COMPATIBLE, "") => Err(NoProvider::NoAddress),
            (COMPATIBLE, url) => Ok(Some(url.to_owned())),
            _ => Ok(None),
        };
    };
    let mut url = Url::parse(text).map_err(|_| NoProvider::WrongAddress)?;
    let is_usable = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none();
    if !is_usable {
        return Err(NoProvider::WrongAddress);
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let path =
        ["/chat/completions", "/messages"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(&path).to_owned();
    let path = match known.name() {
        // Azure's address for clients of OpenAI; LiteLLM writes the older paths below the bare host.
        "azure" => "/openai/v1".to_owned(),
        "anthropic" => path.strip_suffix("/v1").unwrap_or(&path).to_owned(),
        "ollama" if path.is_empty() || path == "/api" => "/v1".to_owned(),
        _ => path,
    };
    url.set_path(&path);
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}

fn is_of(url: &str, domain: &str) -> bool {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    host == domain || host.ends_with(&format!(".{domain}"))
}

/// An address that need not be written, because it is the kind's own.
fn own_address(url: &str, own: &str) -> Option<String> {
    (url != own).then(|| url.to_owned())
}

/// A name for a server of one's own: the first word of its host.
fn own_name(base_url: Option<&str>) -> String {
    let url = base_url.and_then(|url| Url::parse(url).ok());
    let word = match url.as_ref().and_then(Url::host) {
        Some(url::Host::Domain(host)) => {
            host.split('.').find(|part| !matches!(*part, "www" | "api")).unwrap_or("").to_owned()
        }
        _ => String::new(),
    };
    let word: String =
        word.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(40).collect();
    match word.as_str() {
        "" | "localhost" => "local".to_owned(),
        // The company's own name would make its prices look like this server's.
        "openai" | "anthropic" | "sandbox" => format!("{word}-like"),
        _ => word,
    }
}

/// A name that a provider can have here.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(providers: &mut Providers, prefix: &str, api_base: Option<&str>, key: KeySource) -> Option<usize> {
        providers.place(Known::find(prefix).unwrap(), api_base, key, None).ok().map(|(index, _)| index)
    }

    fn check(prefix: &str, api_base: Option<&str>, expected: (&str, ProviderKind, Option<&str>, Option<&str>)) {
        let mut providers = Providers::default();
        let index = place(&mut providers, prefix, api_base, KeySource::Usual).unwrap();
        let provider = providers.get(index);
        let found = (provider.name.as_str(), provider.kind, provider.base_url.as_deref(), provider.key.as_deref());
        assert_eq!(found, expected, "{prefix} {api_base:?}");
    }

    #[test]
    fn a_prefix_and_an_address_come_to_a_provider() {
        check("openai", None, ("openai", ProviderKind::OpenAi, None, Some("OPENAI_API_KEY")));
        check(
            "openai",
            Some("https://api.openai.com/v1/"),
            ("openai", ProviderKind::OpenAi, None, Some("OPENAI_API_KEY")),
        );
        check(
            "openai",
            Some("https://eu.api.openai.com/v1"),
            ("openai", ProviderKind::OpenAi, Some("https://eu.api.openai.com/v1"), Some("OPENAI_API_KEY")),
        );
        check("openai", Some("http://vllm.lan:8000/v1"), ("vllm", COMPATIBLE, Some("http://vllm.lan:8000/v1"), None));
        check("openai", Some("http://10.0.0.5:8000/v1"), ("local", COMPATIBLE, Some("http://10.0.0.5:8000/v1"), None));
        check(
            "openai",
            Some("https://openai.example.com/v1"),
            ("openai-like", COMPATIBLE, Some("https://openai.example.com/v1"), None),
        );
        check(
            "anthropic",
            Some("https://api.anthropic.com/v1/messages"),
            ("anthropic", ProviderKind::Anthropic, None, Some("ANTHROPIC_API_KEY")),
        );
        check("groq", None, ("groq", COMPATIBLE, Some("https://api.groq.com/openai/v1"), Some("GROQ_API_KEY")));
        check("ollama_chat", Some("http://gpu:11434"), ("ollama", COMPATIBLE, Some("http://gpu:11434/v1"), None));
        check(
            "azure",
            Some("https://acme.openai.azure.com/"),
            ("azure", COMPATIBLE, Some("https://acme.openai.azure.com/openai/v1"), Some("AZURE_API_KEY")),
        );
    }

    #[test]
    fn an_address_that_is_missing_or_wrong_makes_no_provider() {
        let mut providers = Providers::default();
        for (prefix, api_base) in [
            ("azure", None),
            ("hosted_vllm", None),
            ("openai", Some("vllm:8000")),
            ("openai", Some("https://user:password@host/v1")),
            ("openai", Some("file:///etc/passwd")),
            ("openai", Some("no address")),
        ] {
            assert_eq!(place(&mut providers, prefix, api_base, KeySource::Usual), None, "{prefix} {api_base:?}");
        }
        assert_eq!(providers.iter().len(), 0);
        assert!(Known::find("bedrock").is_none());
    }

    #[test]
    fn each_key_makes_a_provider_of_its_own() {
        let mut providers = Providers::default();
        let one = place(&mut providers, "openai", None, KeySource::of("os.environ/KEY_A"));
        let two = place(&mut providers, "openai", None, KeySource::of("os.environ/KEY_B"));
        let three = place(&mut providers, "openai", None, KeySource::of("sk-secret"));
        assert_eq!([one, two, three], [Some(0), Some(1), Some(2)]);
        assert_eq!(place(&mut providers, "openai", None, KeySource::of("os.environ/KEY_A")), Some(0));
        assert_eq!(place(&mut providers, "openai", None, KeySource::of("sk-secret")), Some(2));
        let names: Vec<_> = providers.iter().map(|p| (p.name.as_str(), p.key.as_deref().unwrap())).collect();
        assert_eq!(names, [("openai", "KEY_A"), ("openai-2", "KEY_B"), ("openai-3", "OPENAI_3_API_KEY")]);
    }

    #[test]
    fn a_word_in_the_place_of_a_key_is_none_at_a_server_of_ones_own() {
        let mut providers = Providers::default();
        let index = place(&mut providers, "openai", Some("http://vllm:8000/v1"), KeySource::of("None")).unwrap();
        assert_eq!(providers.get(index).key, None);
        let index = place(&mut providers, "openai", None, KeySource::of("dummy")).unwrap();
        assert!(providers.get(index).key.is_some());
    }
}

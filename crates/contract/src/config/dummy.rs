//! `[tools.NAME] dummy` as written: a stand-in for the tool's credential, shaped as an SDK wants it, and where a program finds
//! it. Never knows the credential itself, and draws no random numbers of its own.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// The shortest dummy, in bytes: what is shorter would be found where nobody put it.
pub const DUMMY_BYTES_MIN: usize = 18;

/// The longest dummy, in bytes.
pub const DUMMY_BYTES_MAX: usize = 512;

/// The longest text of a file around a dummy, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// What stands for the dummy in the text of a file.
const HERE: &str = "{dummy}";

/// How long a dummy is where nothing is said.
const LENGTH_DEFAULT: usize = 40;

/// `{"alg":"HS256","typ":"JWT"}` and `{"iss":"postern","sub":"dummy","iat":1767225600,"exp":4102444800}`, as a token has them.
const JWT_CLAIMS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJwb3N0ZXJuIiwic3ViIjoiZHVtbXkiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMH0.";

/// Characters of a signature of 32 bytes but the last, which holds four bits alone.
const JWT_SIGNATURE: usize = 42;

/// What the last one may be.
const JWT_LAST: &[u8] = b"AEIMQUYcgkosw048";

/// One stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Dummy {
    /// The variable that it is in.
    pub env: Option<String>,
    /// The file that it is in.
    pub file: Option<DummyFile>,
    /// What it looks like.
    pub shape: Shape,
}

/// A file of an agent's own that a dummy is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DummyFile {
    /// Beneath the agent's home.
    pub path: String,
    text: String,
}

impl DummyFile {
    /// All of the file.
    #[must_use]
    pub fn with(&self, dummy: &str) -> String {
        self.text.replace(HERE, dummy)
    }
}

/// What a dummy looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A beginning that is always the same, and random characters.
    Key {
        /// The beginning.
        like: String,
        /// All of it, in bytes.
        length: usize,
        /// The others.
        alphabet: Alphabet,
    },
    /// A JSON Web Token with claims that say nothing, valid until 2100, and a random signature.
    Jwt,
}

/// Which characters a dummy is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// Digits and letters.
    #[default]
    Base62,
    /// Digits, letters, `-` and `_`.
    Base64url,
    /// Capital letters and `2` to `7`.
    Base32,
    /// Digits and `a` to `f`.
    Hex,
}

impl Alphabet {
    fn characters(self) -> &'static [u8] {
        match self {
            Self::Base62 => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Self::Base64url => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_",
            Self::Base32 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            Self::Hex => b"0123456789abcdef",
        }
    }

    /// How many of them nobody can guess, whichever they turn out to be.
    #[must_use]
    pub fn characters_min(self) -> usize {
        match self {
            Self::Base62 | Self::Base64url => 18,
            Self::Base32 => 16,
            Self::Hex => 25,
        }
    }
}

impl Shape {
    /// A dummy, and how many bytes of its beginning are no secret of its own. `random` gives evenly spread numbers.
    pub fn make(&self, mut random: impl FnMut() -> u16) -> (String, usize) {
        let mut pick = |from: &[u8]| {
            let place = (usize::from(random()) * from.len()) >> 16;
            char::from(from[place])
        };
        match self {
            Self::Key {
                like,
                length,
                alphabet,
            } => {
                let mut text = like.clone();
                text.extend((like.len()..*length).map(|_| pick(alphabet.characters())));
                (text, like.len())
            }
            Self::Jwt => {
                let mut text = JWT_CLAIMS.to_owned();
                text.extend((0..JWT_SIGNATURE).map(|_| pick(Alphabet::Base64url.characters())));
                text.push(pick(JWT_LAST));
                (text, JWT_CLAIMS.len())
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    env: Option<String>,
    file: Option<String>,
    text: Option<String>,
    like: Option<String>,
    length: Option<usize>,
    alphabet: Option<Alphabet>,
    #[serde(default)]
    jwt: bool,
}

/// Why something is no dummy.
#[derive(Debug, thiserror::Error)]
enum NotADummy {
    #[error("say where a program finds it: `env = \"NAME\"`, `file = \"~/PATH\"` or both")]
    Nowhere,
    #[error("`{0}` is no variable")]
    Variable(String),
    #[error("`{0}` is no file of the agent's: say `~/PATH`, without `..`")]
    File(String),
    #[error("`text` is what stands in `file`, at most {TEXT_BYTES_MAX} bytes with one `{HERE}`")]
    Text,
    #[error("a JSON Web Token is as it is: leave out `like`, `length` and `alphabet`")]
    Jwt,
    #[error("`like` is what every such key begins with: at most 64 characters that can be seen")]
    Like,
    #[error(
        "`length` is that of all of it: for this beginning and alphabet from {0} to {DUMMY_BYTES_MAX}"
    )]
    Length(usize),
}

impl TryFrom<Written> for Dummy {
    type Error = NotADummy;

    fn try_from(written: Written) -> Result<Self, NotADummy> {
        if written.env.is_none() && written.file.is_none() {
            return Err(NotADummy::Nowhere);
        }
        if let Some(name) = written.env.as_ref().filter(|name| !is_a_variable(name)) {
            return Err(NotADummy::Variable(
                name.escape_default().take(80).collect(),
            ));
        }
        let shape = written.shape()?;
        let file = written.file_with_text()?;
        Ok(Self {
            env: written.env,
            file,
            shape,
        })
    }
}

impl Written {
    fn shape(&self) -> Result<Shape, NotADummy> {
        if self.jwt {
            let alone = self.like.is_none() && self.length.is_none() && self.alphabet.is_none();
            return if alone {
                Ok(Shape::Jwt)
            } else {
                Err(NotADummy::Jwt)
            };
        }
        let like = self.like.clone().unwrap_or_default();
        if like.len() > 64 || !like.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotADummy::Like);
        }
        let alphabet = self.alphabet.unwrap_or_default();
        let (length, least) = (
            self.length,
            (like.len() + alphabet.characters_min()).max(DUMMY_BYTES_MIN),
        );
        let length = length.unwrap_or(LENGTH_DEFAULT.max(least));
        if !(least..=DUMMY_BYTES_MAX).contains(&length) {
            return Err(NotADummy::Length(least));
        }
        Ok(Shape::Key {
            like,
            length,
            alphabet,
        })
    }

    fn file_with_text(&self) -> Result<Option<DummyFile>, NotADummy> {
        let Some(file) = &self.file else {
            return match self.text {
                Some(_) => Err(NotADummy::Text),
                None => Ok(None),
            };
        };
        let path = file.strip_prefix("~/").filter(|path| is_beneath(path));
        let no_file = || NotADummy::File(file.escape_default().take(80).collect());
        let path = path.ok_or_else(no_file)?.to_owned();
        let text = self.text.clone().unwrap_or_else(|| format!("{HERE}\n"));
        if text.len() > TEXT_BYTES_MAX || text.matches(HERE).count() != 1 {
            return Err(NotADummy::Text);
        }
        Ok(Some(DummyFile { path, text }))
    }
}

/// Whether a path leads to something beneath where it starts, and is written plainly.
fn is_beneath(path: &str) -> bool {
    let is_plain =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    path.len() <= 1024 && path.split('/').all(is_plain)
}

fn is_a_variable(name: &str) -> bool {
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    begins && name.len() <= 256 && name.bytes().all(rest)
}

/// One table, or a list of them.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Dummy>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Vec<Dummy>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a dummy, as `{ env = \"NAME\" }`, or a list of them")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Dummy::deserialize(de::value::MapAccessDeserializer::new(map)).map(|dummy| vec![dummy])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(Either)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Dummy, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// Evenly spread enough for a test.
    fn numbers() -> impl FnMut() -> u16 {
        let mut state = 1_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u16::try_from(state >> 16).unwrap()
        }
    }

    #[test]
    fn a_dummy_is_shaped_like_the_key_that_it_stands_for() {
        let dummy = read("env = \"STRIPE_API_KEY\"\nlike = \"sk_live_\"\nlength = 32").unwrap();
        let (text, fixed) = dummy.shape.make(numbers());
        assert_eq!((text.len(), fixed, &text[..8]), (32, 8, "sk_live_"));
        assert!(text[8..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let dummy =
            read("env = \"A\"\nlike = \"AKIA\"\nlength = 20\nalphabet = \"base32\"").unwrap();
        let (text, _) = dummy.shape.make(numbers());
        let is_one = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
        assert!(text.len() == 20 && text[4..].bytes().all(is_one), "{text}");
        let (other, _) = dummy.shape.make(|| u16::MAX);
        assert_eq!(other, "AKIA7777777777777777");
    }

    #[test]
    fn a_token_has_three_parts_and_claims_that_say_nothing() {
        let dummy = read("env = \"A\"\njwt = true").unwrap();
        let (text, fixed) = dummy.shape.make(numbers());
        let parts: Vec<_> = text.split('.').collect();
        assert_eq!((parts.len(), parts[2].len()), (3, 43));
        assert_eq!(&text[fixed..], parts[2]);
    }

    #[test]
    fn a_file_is_beneath_the_home_and_holds_the_dummy() {
        let dummy = read("file = \"~/.config/x/key\"").unwrap();
        assert_eq!(dummy.file.unwrap().with("k"), "k\n");
        let dummy = read("file = \"~/.netrc\"\ntext = \"machine a password {dummy}\"").unwrap();
        assert_eq!(dummy.file.unwrap().with("k"), "machine a password k");
        for path in [
            "/etc/passwd",
            "~",
            "~/",
            "~/../x",
            "~/a//b",
            "~/a/./b",
            "x",
            "~/a\\u0000",
        ] {
            assert!(read(&format!("file = \"{path}\"")).is_err(), "{path}");
        }
    }

    #[test]
    fn what_could_be_guessed_or_found_nowhere_is_no_dummy() {
        for (text, words) in [
            ("", "where a program finds it"),
            ("env = \"1A\"", "no variable"),
            ("env = \"A=B\"", "no variable"),
            ("env = \"A\"\nlength = 17", "from 18 to 512"),
            (
                "env = \"A\"\nlike = \"sk_\"\nlength = 22\nalphabet = \"hex\"",
                "from 28 to 512",
            ),
            ("env = \"A\"\nlength = 513", "from 18 to 512"),
            ("env = \"A\"\nlike = \"a b\"", "can be seen"),
            ("env = \"A\"\njwt = true\nlike = \"x\"", "leave out"),
            ("env = \"A\"\ntext = \"{dummy}\"", "what stands in `file`"),
            (
                "file = \"~/a\"\ntext = \"nothing\"",
                "what stands in `file`",
            ),
            ("env = \"A\"\nsecret = \"x\"", "unknown field"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

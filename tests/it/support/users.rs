//! The people of the tests, and the three ways a registry may ask who they are.

/// Somebody with a password.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub name: &'static str,
    pub password: &'static str,
    /// The bcrypt hash of the password, as htpasswd files hold it.
    pub password_hash: &'static str,
}

/// May pull, push and delete everywhere.
pub const ALICE: User = User {
    name: "alice",
    password: "wonderland-of-alice",
    password_hash: "$2b$04$YLSK0oYiXxiczWpQiyPPheT2oYbtwmnRvsaU6xSgCMxee15RFaM4i",
};

/// May pull wherever the name does not begin with `private/`.
pub const BOB: User = User {
    name: "bob",
    password: "builder-called-bob",
    password_hash: "$2b$04$8SaGPksGBvszXl3gI0AYqOnKGyaam0RNlL8WwraXp127hWgHKUfYO",
};

/// Is known, and may do nothing.
pub const EVE: User = User {
    name: "eve",
    password: "eavesdropping-eve",
    password_hash: "$2b$04$WtGhDeQljJNpV51eK17W4OrjPeELONTlca4jag4gScEf3q4C23VMm",
};

/// May pull and push below `carol/`.
pub const CAROL: User = User {
    name: "carol",
    password: "singing-carol",
    password_hash: "$2b$04$e6ebDl4V.NpovuikKBN/kuc12oderMFkzgjeGwExeJ89JVadojChW",
};

pub const EVERYONE: [User; 4] = [ALICE, BOB, CAROL, EVE];

/// How the registry authenticates.
///
/// Only a token service can tell the users apart: with htpasswd whoever has a password may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    Basic,
    Token,
}

impl Auth {
    pub const ALL: [Self; 3] = [Self::None, Self::Basic, Self::Token];
}

impl User {
    /// What the token service lets this user do in a repository; nobody is the anonymous caller.
    pub fn permits(user: Option<&str>, repository: &str, action: &str) -> bool {
        match user {
            Some("alice") => true,
            Some("bob") => action == "pull" && !repository.starts_with("private/"),
            Some("carol") => action != "delete" && repository.starts_with("carol/"),
            Some(_) => false,
            None => action == "pull" && repository.starts_with("public/"),
        }
    }

    pub fn with_password(name: &str, password: &str) -> Option<Self> {
        EVERYONE
            .into_iter()
            .find(|user| user.name == name && user.password == password)
    }
}

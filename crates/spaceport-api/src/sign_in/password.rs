//! Passwords: hashed with Argon2id, compared in the same time whether or not there is an account.
//!
//! A hash takes some 20 MiB and tens of milliseconds on purpose, so they run beside the requests and
//! only a few at once: many attempts at the same time queue up instead of filling the memory. The queue is short:
//! whoever would wait for seconds is sent away at once, and requests do not pile up behind it.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Hashes at once.
const AT_ONCE: usize = 4;
/// Hashes at once and those that wait: the last of them waits a second or two.
const MOST: usize = 64;
/// By then the queue has moved on.
const RETRY_AFTER_S: u32 = 5;
/// Shortest password, in characters. NIST SP 800-63B §3.1.1 asks for 8 where it is one factor of
/// several and for 15 where it is the only one; guessing is slowed down here.
const SHORTEST: usize = 10;
/// Longest password, in bytes.
const LONGEST: usize = 1024;

/// Compared with when there is no account or no password, so that this takes as long. Nothing has
/// this hash.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c3BhY2Vwb3J0LW5vYm9keQ$bm9ib2R5J3MgcGFzc3dvcmQgaGFzIHRoaXMgaGFzaC4";

/// Hashes and compares.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// A place in the queue: whoever has one will get a turn.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MOST)), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// A place in the queue.
    ///
    /// # Errors
    /// 503 with `Retry-After` when it is full.
    pub(crate) fn queue(&self) -> Result<Place, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map(|permit| Place { _permit: permit }).map_err(|_| {
            ApiError::busy("Too many people sign in at this moment; try again in a few seconds", RETRY_AFTER_S)
        })
    }

    /// What is stored of a password.
    ///
    /// # Errors
    /// When it is too short or too long; 503 when too many others are hashed.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        check(&password)?;
        let place = self.queue()?;
        let hashed =
            self.work(place, move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()));
        hashed.await?.map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Whether a password is the one a hash was made of; never when there is no hash.
    ///
    /// # Errors
    /// When the stored hash is not one.
    pub(crate) async fn is_right(
        &self,
        place: Place,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, ApiError> {
        // A longer one cannot have been set; it must not cost more either.
        let password = if password.len() > LONGEST { String::new() } else { password };
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS.to_owned());
        let compared = self.work(place, move || {
            let hash = PasswordHash::new(&hash)?;
            Ok::<_, argon2::password_hash::phc::Error>(
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
            )
        });
        let right = compared.await?.map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(right && known)
    }

    async fn work<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(ApiError::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // Given back when the work is done, not when the request is dropped.
            let _taken = (place, turn);
            work()
        });
        done.await.map_err(ApiError::internal)
    }
}

fn check(password: &str) -> Result<(), ApiError> {
    let length = password.chars().count();
    if length < SHORTEST {
        return Err(ApiError::bad_request(format!(
            "The password has {length} characters; use {SHORTEST} or more. A few words are easy to remember"
        )));
    }
    if password.len() > LONGEST {
        return Err(ApiError::bad_request(format!("The password is longer than {LONGEST} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_is_right() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse ü".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let is_right = async |password: &str, hash: Option<&String>| {
            passwords.is_right(passwords.queue().unwrap(), password.to_owned(), hash.cloned()).await.unwrap()
        };
        assert!(is_right("correct horse ü", Some(&hash)).await);
        assert!(!is_right("correct horse u", Some(&hash)).await);
        assert!(!is_right("", Some(&hash)).await);
        assert!(!is_right("correct horse ü", None).await);
        assert!(!is_right(&"x".repeat(1 << 20), Some(&hash)).await);
        assert_ne!(passwords.hash("correct horse ü".to_owned()).await.unwrap(), hash, "salted");
    }

    #[tokio::test]
    async fn the_queue_is_short_and_moves_on() {
        let passwords = Passwords::default();
        let mut places: Vec<_> = (0..MOST).map(|_| passwords.queue().unwrap()).collect();
        let refused = passwords.hash("correct horse".to_owned()).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 503, "{refused:?}");
        let place = places.pop().unwrap();
        assert!(!passwords.is_right(place, "correct horse".to_owned(), None).await.unwrap());
        assert!(passwords.hash("correct horse".to_owned()).await.is_ok(), "the place is free again");
    }

    #[tokio::test]
    async fn what_nobody_has_costs_the_same_and_is_never_right() {
        let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let real = Passwords::default().hash("0123456789".to_owned()).await.unwrap();
        assert_eq!(parameters(NOBODYS), parameters(&real));
        assert_eq!(NOBODYS.len(), real.len());
        assert!(PasswordHash::new(NOBODYS).is_ok());
    }

    #[tokio::test]
    async fn short_and_endless_passwords_are_refused() {
        for bad in ["", "short", "üüüüüüüüü", &"x".repeat(1025)] {
            assert!(Passwords::default().hash(bad.to_owned()).await.is_err(), "{}", bad.len());
        }
    }
}

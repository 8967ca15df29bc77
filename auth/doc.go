// Package auth turns a token into a [Grant]: its user, and the rights of that user on one document.
//
// It owns token checks, the sources of rights, the list of revocations, the origins that may connect, and the count of refusals per
// client. It never sees a socket or the contents of a document, and it does not use NATS: ingest carries a [Revocation] to the
// other servers.
//
// # What must hold
//
//   - A Grant exists only for a token that a configured key has signed, that is in force, and that is not revoked. The token's
//     own header never chooses how it is checked: the kind of a key and its alg do (methodsOf); a shared secret checks HMAC alone.
//     Of its header only alg and kid are read, kid as nothing but the name of a key already held; crit is refused, and jku,
//     jwk, x5u and x5c are not obeyed.
//   - A check that cannot be made refuses, and a temporary cause gets a temporary error. An unreachable key set or a silent callback
//     is [ErrUnavailable]; a token that becomes valid soon is [ErrNotYet]. A client retries both. Neither is ever a grant, nor a
//     "forbidden" that would stop a client for good.
//   - A user's name is data. {sub} in a rule stands for exactly that text in one path segment: it is never a glob, and a
//     name with a slash in it matches no such rule.
//   - No token, key or secret reaches an error, a log line or a metric. Errors are made of fixed words; a [TokenError] names the check
//     that failed and carries for the log, clipped, the issuer, audience, algorithm and key that the token claims.
//   - Memory is bounded whatever clients send: every table here has a maximum size.
//
// # From a token to a grant
//
// A token is at most 8 KiB of three base64url parts. Its expiry is required, exp and nbf are read with 60 s of leeway, its
// issuer and audience must be the configured ones, its sub is the user: text, or a whole number by its digits. A name given twice in its JSON is refused, since two
// readers could read two different things. The service keys of a Supabase project (role anon, role service_role) are not
// users: both are refused, service_role unless Options.TrustServiceRole makes it the administrator.
//
// Rights come from the first of these that answers:
//
//  1. a ticket ([Auth.Ticket]) carries its document and mode in itself, and is good for nothing else;
//  2. the callback, where one is configured, answers for every document;
//  3. the claim app_metadata.docs, a list of "doc:<glob>:" and r, rw or rwd, when one of them matches: the strongest wins;
//  4. the rules file, when one of its rules matches: the strongest wins;
//  5. where there is no callback, no rules file and no such claim in the token: every authenticated user reads and writes (rw).
//     A warning at the start says so.
//
// In a glob * is any run of characters within a path segment and ** any run at all. There are no deny rules. A rules file is
// JSON, checked as a whole at the start:
//
//	{"rules": [
//	  {"match": "users/{sub}/**",  "access": "rw"},
//	  {"match": "handbook/**",     "access": "r"},
//	  {"match": "tours/*",         "access": "r", "role": "anon"}
//	]}
//
// role "authenticated" (the default) means every user but an anonymous one, "anon" those whose token says is_anonymous, "*"
// both, anything else a role claim of exactly that word.
//
// # The callback
//
// A POST of JSON {"document", "user", "session", "claims", "ip", "origin"}, or {"document", "token", "ip", "origin"} where no
// key is configured and the callback judges the token itself, signed in the header Yjet-Signature (see [Sign]). It answers
// 200 and {"access": "rwd"|"rw"|"r"|"none", "userId", "name", "ttl"}: userId counts only for tokens that the callback judged itself,
// ttl is in seconds. Anything else, and anything later than 3 s, is ErrUnavailable. An answer is kept for ttl, at most 60 s;
// while the client stays connected it is asked for again every ttl (Grant.Recheck), 5 minutes where it names none.
//
// # Revocations
//
// A [Revocation] names a user, a session, a document, or several of these, and matches a grant that agrees with all of them.
// Without a session it ends the tokens issued before it: the user may sign in again at once, if the issuer lets them. With a
// session it ends that session, including tokens issued to it later.
//
// # Goroutines
//
// Each key set has one goroutine, which fetches it and ends with [Auth.Close].
package auth

package guard

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	leastToken = 43 // characters that 32 random bytes take in base64
	mostToken  = 512
	mostKeys   = 100
	leastKinds = 10 // different characters of a token: 43 random ones have some 30
)

var roleNames = map[Role]string{Read: "read", Operate: "operate", Admin: "admin"}

// String is the name of the role, as keys files have it.
func (r Role) String() string {
	if name, ok := roleNames[r]; ok {
		return name
	}
	return "nobody"
}

// ParseRole reads the name of a role.
func ParseRole(name string) (Role, error) {
	for role, known := range roleNames {
		if name == known {
			return role, nil
		}
	}
	return Nobody, errors.New("unknown role: use read, operate or admin")
}

// Key lets whoever knows its token in, with a role. It does not hold the token itself, and prints as its role.
type Key struct {
	role    Role
	sum     [sha256.Size]byte
	session [sha256.Size]byte // signs the sessions that began with this token
}

// NewKey makes a key of a token. Tokens are random: 32 bytes at least, which are 43 characters in base64.
func NewKey(role Role, token string) (Key, error) {
	if role < Read || role > Admin {
		return Key{}, errors.New("a key needs a role: read, operate or admin")
	}
	if err := checkToken(token); err != nil {
		return Key{}, err
	}
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("worker-machine session 1 " + role.String()))
	return Key{role: role, sum: sha256.Sum256([]byte(token)), session: [sha256.Size]byte(mac.Sum(nil))}, nil
}

// Role is what the key lets its bearer do.
func (k Key) Role() Role { return k.role }

// String is the role; the key's sums are nobody's business.
func (k Key) String() string { return "key of " + k.role.String() }

// GoString is String, for %#v.
func (k Key) GoString() string { return k.String() }

func checkToken(token string) error {
	kinds := map[rune]bool{}
	for _, c := range token {
		if c <= ' ' || c > '~' {
			return errors.New("a token is of printable ASCII characters without blanks")
		}
		kinds[c] = true
	}
	switch {
	case len(token) < leastToken:
		return fmt.Errorf("the token has %d characters, use at least %d random ones: worker-machine serve --new-key operate makes some", len(token), leastToken)
	case len(token) > mostToken:
		return fmt.Errorf("the token has %d characters, use at most %d", len(token), mostToken)
	case len(kinds) < leastKinds:
		return errors.New("the token is not random: worker-machine serve --new-key operate makes one that is")
	}
	return nil
}

// NewToken makes a token of 32 random bytes.
func NewToken() string {
	random := make([]byte, sha256.Size)
	_, _ = rand.Read(random) // it never fails: without randomness the process ends
	return base64.RawURLEncoding.EncodeToString(random)
}

// ParseKeys reads keys, one a line: a role, a colon or blanks, a token. Empty lines and those that begin with # are skipped. All
// mistakes are reported at once, by line and without the tokens.
func ParseKeys(r io.Reader) ([]Key, error) {
	var keys []Key
	var bad []error
	seen := map[[sha256.Size]byte]bool{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := parseKey(line)
		switch {
		case err == nil && seen[key.sum]:
			err = errors.New("this token is there twice")
		case len(keys) == mostKeys:
			return nil, fmt.Errorf("more than %d keys", mostKeys)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		seen[key.sum] = true
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		bad = append(bad, err)
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it; write lines like operate:TOKEN")
	}
	return keys, nil
}

func parseKey(line string) (Key, error) {
	at := strings.IndexAny(line, ": \t")
	if at < 0 {
		return Key{}, errors.New("write role:token, with a role of read, operate or admin")
	}
	role, err := ParseRole(line[:at])
	if err != nil {
		return Key{}, err
	}
	return NewKey(role, strings.TrimSpace(line[at+1:]))
}

// find returns the key of a token. It takes the same time for every wrong token, and looks at every key.
func find(keys []Key, token string) (Key, bool) {
	sum := sha256.Sum256([]byte(token))
	var found Key
	ok := 0
	for i := range keys {
		same := subtle.ConstantTimeCompare(sum[:], keys[i].sum[:])
		if same == 1 {
			found = keys[i]
		}
		ok |= same
	}
	return found, ok == 1
}

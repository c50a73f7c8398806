package broker

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/petrelchat/petrel/chat"
)

// joinPattern is where the links of invitations lead, below public_url.
const joinPattern = "/join/{code}"

//go:embed join.html
var joinHTML string

// joinPage says what to do with an invitation. It looks nothing up: whether a code is good, the one who
// redeems it learns, and nobody can try codes here. A code is as good as a key to the group, so the page is not
// kept and tells no other site where the visitor came from.
func joinPage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Robots-Tag", "noindex")
		head.Set("Cache-Control", "no-store")
		code := r.PathValue("code")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			head.Set("Allow", "GET, HEAD")
			http.Error(w, "this page is read with GET", http.StatusMethodNotAllowed)
		case !chat.ValidGroup(code): // codes are made of the same letters
			http.Error(w, "this is no invitation: check the link", http.StatusNotFound)
		default:
			head.Set("Content-Type", "text/html; charset=utf-8")
			// Nothing in a code needs escaping. A template package would be linked with every method of the program.
			_, _ = strings.NewReplacer("{code}", code).WriteString(w, joinHTML) // a reader that is gone needs no page
		}
	})
}

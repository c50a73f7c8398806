package broker_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/config"
)

// TestJoinPage: the link of an invitation leads to a page that names the code, keeps it to itself, and tells
// nobody which codes are good.
func TestJoinPage(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.PublicURL = "https://chat.example.org" })
	ana := s.dial("ana")
	ana.want("group.create", `{"id":"crew","title":"Crew"}`)
	inv := ana.want("invite.create", `{"conv":"crew"}`)
	code, link := inv["code"].(string), inv["link"].(string)
	if link != "https://chat.example.org/join/"+code {
		t.Fatalf("the link is %s", link)
	}
	get := func(method, path string) (int, http.Header, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+s.Addr("http")+path, nil)
		mustDo(t, err)
		res, err := http.DefaultClient.Do(req)
		mustDo(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		mustDo(t, err)
		return res.StatusCode, res.Header, string(body)
	}
	status, head, page := get(http.MethodGet, strings.TrimPrefix(link, "https://chat.example.org"))
	if status != http.StatusOK || !strings.Contains(page, `href="petrel:join?code=`+code+`"`) || !strings.Contains(page, `{&#34;code&#34;:&#34;`+code) && !strings.Contains(page, `{"code":"`+code) {
		t.Fatalf("%d %s", status, page)
	}
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Robots-Tag": "noindex"} {
		if got := head.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	// A code that is none of an invitation looks the same.
	_, _, other := get(http.MethodGet, "/join/aaaaaaaaaaaaaaaaaaaaaaaaaa")
	if strings.ReplaceAll(other, "aaaaaaaaaaaaaaaaaaaaaaaaaa", code) != page {
		t.Error("the page tells which codes are good")
	}
	for path, want := range map[string]int{
		"/join/" + strings.Repeat("a", 65): 404, "/join/%3Cscript%3E": 404, "/join/A": 404, "/join/a%22b": 404, "/join/": 404, "/join": 404,
	} {
		if status, _, body := get(http.MethodGet, path); status != want || strings.Contains(body, "<script") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, _ := get(http.MethodPost, "/join/"+code); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", status)
	}
}

package client_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// source is a package of the server, as far as its requests are concerned.
type source struct {
	methods map[string]string // rpc method: name of the function that carries it out
	params  map[string]string // function: type of its parameters
	structs map[string]*ast.StructType
}

func paramsInSource(t *testing.T, dir string) map[string][]string {
	t.Helper()
	src := source{map[string]string{}, map[string]string{}, map[string]*ast.StructType{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, src.note)
	}
	found := map[string][]string{}
	for method, fn := range src.methods {
		typ, ok := src.params[fn]
		if !ok || src.structs[typ] == nil {
			t.Fatalf("%s is carried out by %s, whose parameters were not found", method, fn)
		}
		found[method] = src.fields(typ)
	}
	return found
}

func (s *source) note(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.KeyValueExpr: // "group.get": with(groupGet)
		s.registers(n.Key, n.Value)
	case *ast.AssignStmt: // m["bot.list"] = with(botList)
		if at, ok := n.Lhs[0].(*ast.IndexExpr); ok && len(n.Rhs) == 1 {
			s.registers(at.Index, n.Rhs[0])
		}
	case *ast.FuncDecl:
		if list := n.Type.Params.List; len(list) == 2 {
			typ := list[1].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				s.params[n.Name.Name] = id.Name
			}
		}
	case *ast.TypeSpec:
		if st, ok := n.Type.(*ast.StructType); ok {
			s.structs[n.Name.Name] = st
		}
	}
	return true
}

func (s *source) registers(key, value ast.Expr) {
	lit, ok := key.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return
	}
	for { // with(fn), inTurn(with(fn))
		c, ok := value.(*ast.CallExpr)
		if !ok || len(c.Args) != 1 {
			return
		}
		if f, ok := c.Fun.(*ast.Ident); !ok || f.Name != "with" && f.Name != "inTurn" {
			return
		}
		value = c.Args[0]
		method, _ := strconv.Unquote(lit.Value)
		switch fn := value.(type) {
		case *ast.Ident:
			s.methods[method] = fn.Name
			return
		case *ast.SelectorExpr:
			s.methods[method] = fn.Sel.Name
			return
		}
	}
}

func (s *source) fields(typ string) []string {
	var names []string
	for _, f := range s.structs[typ].Fields.List {
		if id, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
			names = append(names, s.fields(id.Name)...)
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		names = append(names, name)
	}
	return names
}

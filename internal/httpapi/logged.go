package httpapi

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
)

// maxLogged is how much of a value a line of the log repeats: bytes.
const maxLogged = 256

// logChange tells who asked for a change, and what became of it. request is
// the struct that the operation took.
func (s *Server) logChange(ctx context.Context, id string, request any, err error) {
	attrs := append([]slog.Attr{slog.String("op", id)}, fields(reflect.ValueOf(request))...)
	attrs = append(attrs, slog.String("caller", callerFrom(ctx).Addr))
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "refused", append(attrs, slog.Any("error", err))...)
		return
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "done", attrs...)
}

// fields lists what a request says, by the names that it has on the wire; what
// it left out is left out. The name in its path is that of the dataset: there
// may be another in the body.
func fields(request reflect.Value) []slog.Attr {
	var attrs []slog.Attr
	for i := range request.NumField() {
		field, value := request.Type().Field(i), request.Field(i)
		name := wireName(field.Tag)
		if value.Kind() == reflect.Pointer && !value.IsNil() {
			attrs = append(attrs, slog.Any(name, value.Elem().Interface())) // 0 too: it was given
			continue
		}
		switch {
		case value.Kind() == reflect.Struct:
			attrs = append(attrs, fields(value)...)
		case value.IsZero():
		case value.Kind() == reflect.String:
			text := value.String()
			if len(text) > maxLogged {
				text = text[:maxLogged] + "..."
			}
			attrs = append(attrs, slog.String(name, text))
		default:
			attrs = append(attrs, slog.Any(name, value.Interface()))
		}
	}
	return attrs
}

func wireName(tag reflect.StructTag) string {
	if name := tag.Get("path"); name == "name" {
		return "dataset"
	} else if name != "" {
		return name
	}
	if name := tag.Get("query"); name != "" {
		return name
	}
	name, _, _ := strings.Cut(tag.Get("json"), ",")
	return name
}

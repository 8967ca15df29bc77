package main

import (
	"log/slog"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"yjet/auth"
)

// newAuth makes the authority that the settings describe.
func newAuth(c *config, dev bool, log *slog.Logger, metrics prometheus.Registerer) (*auth.Auth, error) {
	if c.auth.serviceRoleUnused != "" {
		log.Info("SUPABASE_SERVICE_ROLE_KEY is set and not used: yjet needs only SUPABASE_URL or SUPABASE_JWT_SECRET")
	}
	if dev && c.auth.mode == "none" && c.auth.keyed() {
		log.Info("dev has no login, so the configured keys are not used; --auth jwt checks tokens")
	}
	o := c.auth.options()
	o.Origins, o.Dev, o.Log, o.Metrics = splitList(c.origins), dev, log, metrics
	host, _, _ := net.SplitHostPort(c.addr)
	o.Loopback = loopback(host)
	return openAuth(o)
}

// openAuth is auth.New, whose errors are mistakes in the settings or in the file of rules.
func openAuth(o auth.Options) (*auth.Auth, error) {
	a, err := auth.New(o)
	if err != nil {
		return nil, usagef("%s", strings.TrimPrefix(err.Error(), "auth: "))
	}
	return a, nil
}

// keyed reports whether a key or callback that can check tokens is configured.
func (c *authConfig) keyed() bool {
	return c.jwtSecret != "" || c.jwksURL != "" || c.supabaseURL != "" || c.supabaseSecret != "" || c.callback != ""
}

func (c *authConfig) options() auth.Options {
	return auth.Options{
		Mode:             c.mode,
		Secret:           c.jwtSecret,
		KeysURL:          c.jwksURL,
		KeysHTTP:         c.jwksHTTP,
		Issuer:           c.issuer,
		Audience:         c.audience,
		SupabaseURL:      c.supabaseURL,
		SupabaseSecret:   c.supabaseSecret,
		TrustServiceRole: c.trustServiceRole,
		AllowAnonymous:   c.allowAnonymous,
		Callback:         c.callback,
		CallbackSecret:   c.callbackSecret,
		RulesFile:        c.rules,
		Claim:            c.claim,
		TicketSecret:     c.ticketSecret,
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

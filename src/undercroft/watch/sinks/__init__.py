"""Who is told: one module a service. Each turns a message into what the service's own documentation asks for."""

/* What the traffic mirror actions share. */
#ifndef AWSIM_MIRROR_H
#define AWSIM_MIRROR_H

#include "call.h"
#include "plane.h"

/* Out of the world, whoever wants it so; returns the data plane's ticket. */
uint64_t mirror_end_session(struct state *st, struct plane *plane, struct session *s,
                            const char *by);

/* <clientToken>: the one given, or a fresh one as EC2 makes. */
void mirror_client_token(struct call *c);

/* Every source whose sessions use the filter gets its new shape; sets c->plane_ticket. */
void mirror_publish_filter(struct call *c, const struct filter *f);
/* To be called before it is changed: describes show it as it was when the call's plan says so.
 */
void filter_linger(struct call *c, const struct filter *f);

void filter_xml(struct str *x, const struct obj *o);
void rule_xml(struct str *x, const struct obj *o);

/* Does it carry traffic that AWS would mirror: attached, running, of a type that can? */
bool eni_is_mirrored(const struct eni *e);
bool eni_is_of_service(const struct eni *e);

/* Can an ENI of this instance type be a source?  NULL type: not attached. */
bool type_can_be_mirrored(const char *instance_type);
/* 100 for the largest size of a family, else 10. */
size_t type_sources_per_target(const char *instance_type);

#endif

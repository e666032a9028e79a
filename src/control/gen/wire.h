// SPDX-License-Identifier: Apache-2.0
//
// wire: short names for the xDS messages the generators build, and builders for the shapes that occur
// in many of them. The generated names carry the whole package (84 characters for the HTTP connection
// manager), which would drown the code; hence these typedefs, the one place where the tree has any for
// structs. Everything built lives in the arena.
#ifndef CONTROL_GEN_WIRE_H
#define CONTROL_GEN_WIRE_H

#include "codec/pb/pb.h"
#include "envoy/config/accesslog/v3/accesslog.pb-c.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb-c.h"
#include "envoy/extensions/transport_sockets/tls/v3/tls.pb-c.h"

typedef Google__Protobuf__Any WireAny;
typedef Envoy__Config__Core__V3__Address WireAddress;
typedef Envoy__Config__Core__V3__SocketAddress WireSocketAddress;
typedef Envoy__Config__Core__V3__ConfigSource WireConfigSource;
typedef Envoy__Config__Core__V3__Locality WireLocality;
typedef Envoy__Config__Core__V3__Metadata WireMetadata;
typedef Envoy__Config__Core__V3__TransportSocket WireTransportSocket;
typedef Envoy__Config__Accesslog__V3__AccessLog WireAccessLog;
typedef Envoy__Config__Cluster__V3__Cluster WireCluster;
typedef Envoy__Config__Endpoint__V3__ClusterLoadAssignment WireLoadAssignment;
typedef Envoy__Config__Endpoint__V3__LocalityLbEndpoints WireLocalityEndpoints;
typedef Envoy__Config__Endpoint__V3__LbEndpoint WireLbEndpoint;
typedef Envoy__Config__Listener__V3__Listener WireListener;
typedef Envoy__Config__Listener__V3__ListenerFilter WireListenerFilter;
typedef Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate WirePredicate;
typedef Envoy__Config__Listener__V3__FilterChain WireFilterChain;
typedef Envoy__Config__Listener__V3__FilterChainMatch WireFilterChainMatch;
typedef Envoy__Config__Listener__V3__Filter WireFilter;
typedef Envoy__Config__Route__V3__RouteConfiguration WireRouteConfiguration;
typedef Envoy__Config__Route__V3__VirtualHost WireVirtualHost;
typedef Envoy__Config__Route__V3__Route WireRoute;
typedef Envoy__Config__Route__V3__RouteAction WireRouteAction;
typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager WireHcm;
typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter WireHttpFilter;
typedef Envoy__Extensions__TransportSockets__Tls__V3__CommonTlsContext WireCommonTls;

#define wire_cluster_type envoy__config__cluster__v3__cluster__descriptor
#define wire_filter_chain_type envoy__config__listener__v3__filter_chain__descriptor
#define wire_filter_chain_match_type envoy__config__listener__v3__filter_chain_match__descriptor
#define wire_listener_type envoy__config__listener__v3__listener__descriptor
#define wire_route_configuration_type envoy__config__route__v3__route_configuration__descriptor
#define wire_load_assignment_type envoy__config__endpoint__v3__cluster_load_assignment__descriptor

#define WIRE_NO_LIMIT 4294967295u

WireAddress *wire_address(struct arena *arena, struct str ip, uint32_t port);
WireConfigSource *wire_ads(struct arena *arena);
WireLocality *wire_locality(struct arena *arena, struct str locality); // "region/zone/subzone"

// Any of a filter that plain Envoy does not know: udpa.type.v1.TypedStruct around this JSON text. The
// text is a constant of ours: it parses, or the program is wrong.
WireAny *wire_typed_struct(struct arena *arena, struct str type, const char *json);
// Sets metadata.filter_metadata[name]; json is taken over.
void wire_metadata_set(struct arena *arena, WireMetadata *metadata, const char *name,
                       const struct json_value *json);

// TLS as mesh workloads speak it: certificate `default` and roots `ROOTCA` by SDS from the proxy's agent.
// san: matchers, exact or prefix; none: any identity of the roots.
WireCommonTls *wire_mesh_tls(struct arena *arena, const char *const *alpn, size_t alpn_count,
                             const struct str *sans, size_t san_count, bool sans_are_prefixes);
WireTransportSocket *wire_transport_socket(struct arena *arena, const char *name, const void *config);

#endif

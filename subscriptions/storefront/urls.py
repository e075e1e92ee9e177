"""Customer pages."""

from django.urls import path

from subscriptions.storefront.views import (
    cancel,
    catalogue,
    code,
    notices,
    orders,
    purchase,
    renewal,
    seats,
    sku,
    statements,
    subscriptions,
    viewings,
)

app_name = "storefront"
urlpatterns = [
    path("catalogue/", catalogue.catalogue, name="catalogue"),
    path("catalogue/<int:pk>/", catalogue.product, name="product"),
    path("catalogue/sku/<int:pk>/start/", purchase.field, name="start"),
    path("catalogue/sku/<int:pk>/start/price/", purchase.price, name="start_price"),
    path("catalogue/sku/<int:pk>/start/details/", purchase.details, name="start_details"),
    path("catalogue/sku/<int:pk>/start/check/", purchase.check, name="start_check"),
    path("subscriptions/", subscriptions.subscriptions, name="subscriptions"),
    path("subscriptions/<int:pk>/", subscriptions.subscription, name="subscription"),
    path("subscriptions/<int:pk>/increase/", seats.field, {"stem": "increase"}, name="increase"),
    path("subscriptions/<int:pk>/increase/price/", seats.price, {"stem": "increase"}, name="increase_price"),
    path("subscriptions/<int:pk>/increase/check/", seats.check, {"stem": "increase"}, name="increase_check"),
    path("subscriptions/<int:pk>/decrease/", seats.field, {"stem": "decrease"}, name="decrease"),
    path("subscriptions/<int:pk>/decrease/price/", seats.price, {"stem": "decrease"}, name="decrease_price"),
    path("subscriptions/<int:pk>/decrease/check/", seats.check, {"stem": "decrease"}, name="decrease_check"),
    path("subscriptions/<int:pk>/code/", code.code, name="code"),
    path("subscriptions/<int:pk>/cancel/", cancel.field, name="cancel"),
    path("subscriptions/<int:pk>/cancel/check/", cancel.check, name="cancel_check"),
    path("subscriptions/<int:pk>/keep/", renewal.keep, name="keep"),
    path("subscriptions/<int:pk>/renew/", renewal.renew, name="renew"),
    path("subscriptions/<int:pk>/auto_renew/", renewal.auto_renew, name="auto_renew"),
    path("subscriptions/<int:pk>/convert/", renewal.convert, name="convert"),
    path("subscriptions/<int:pk>/change_sku/", sku.field, name="change_sku"),
    path("subscriptions/<int:pk>/change_sku/check/", sku.check, name="change_sku_check"),
    path("orders/", orders.orders, name="orders"),
    path("orders/<int:pk>/", orders.order, name="order"),
    path("orders/<int:pk>/progress/", orders.progress, name="order_progress"),
    path("orders/<int:pk>/undo/", orders.undo, name="undo"),
    path("notices/", notices.notices, name="notices"),
    path("viewings/", viewings.viewings, name="viewings"),
    path("statements/", statements.statements, name="statements"),
    path("statements/<int:pk>/<str:month>/", statements.statement, name="statement"),
    path("statements/<int:pk>/<str:month>/csv/", statements.statement_csv, name="statement_csv"),
]
